"""The seam of metrics: what is in the list turns up everywhere, and nothing else has to know it."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
from tests.support.small_evaluation import evaluated

from nadir.evaluation.metric import Metric, PromptMean
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.report.page import render_report
from nadir.evaluation.report.sections import Section
from nadir.evaluation.results import to_table
from nadir.evaluation.values import CheckpointValue, Row
from nadir.evaluation.verdict.comparison import improvements
from nadir.stages.evaluate import plot_data
from nadir.tracking.registry.publish import EVALUATION_FACTS, evaluation_metrics


class Redness(PromptMean):
    """A value per image."""

    name = "redness"
    title = "Share of <red>"
    unit = "share of light, 0 to 1"
    direction = "higher"
    meaning = "How much of the light is red & warm."
    limit = 0.01

    def see(self, drawn):
        return drawn.images_NCHW[:, 0].sum((1, 2)) / drawn.images_NCHW.sum((1, 2, 3))


class Probe(Metric):
    """A value per set of images, by something trained once on what training never saw."""

    name = "probe_distance"
    title = "Distance of the probe"
    unit = "luminance"
    direction = "lower"
    meaning = "Distance of the mean image from that of held-out images."
    needs = frozenset({"holdout", "references"})
    section = Section("content", "Content", "Is the right thing in it?", "Lower is closer.")

    def prepare(self, subject):
        self.trained = [subject.pixels(image).mean() for image in subject.holdout]
        self.seen = {}
        self.prompts = set()

    def see(self, drawn):
        self.prompts.add(drawn.prompt.kind)
        self.seen.setdefault(drawn.cfg_scale, []).extend(drawn.images_NCHW.mean((1, 2, 3)))

    def of_scale(self, values):
        seen = self.seen.get(values.cfg_scale, [])
        return {self.name: abs(np.mean(seen) - np.mean(self.trained)) if seen else np.nan}


class Weights(Metric):
    """Values of the checkpoint itself."""

    name = "weight_norm"
    title = "Norm of the weights"
    unit = "1"
    direction = "target"
    meaning = "How large the weights are."

    def of_checkpoint(self, subject):
        norms = {
            name: p.detach().norm().item() for name, p in subject.pipeline.unet.named_parameters()
        }
        total = sum(norm**2 for norm in norms.values()) ** 0.5
        return CheckpointValue(total, (Row(None, "unet", 0, self.name, total),))


EXTRA = (Redness, Probe, Weights)


@pytest.fixture(scope="module")
def evaluation(pipeline, checkpoint, small_params, holdout):
    return evaluated(pipeline, checkpoint, small_params, holdout, metrics=(*METRICS, *EXTRA))


@pytest.fixture(scope="module")
def table(evaluation):
    rows = to_table(evaluation.rows, protocol_id="p", checkpoint="c")
    return rows.to_pandas()


def test_a_new_metric_is_in_the_table(evaluation, table):
    red = table[table["metric"] == "redness"]
    assert len(red) == evaluation.plan.images
    assert red["value"].between(0.1, 0.9).all()
    whole = table[table["metric"] == "weight_norm"]
    assert whole["cfg_scale"].isna().all()
    assert len(whole) == 1


def test_a_new_metric_is_in_the_numbers_and_the_plot_data(evaluation, table):
    numbers = json.loads(json.dumps(evaluation.as_json()))
    for scale, row in numbers["cfg_scales"].items():
        here = table[(table["cfg_scale"] == float(scale)) & (table["metric"] == "redness")]
        by_prompt = here.groupby("prompt_id")["value"].mean()
        assert row["redness"] == pytest.approx(by_prompt.mean())
        assert row["probe_distance"] >= 0
    assert numbers["weight_norm"] == table[table["metric"] == "weight_norm"]["value"].item()
    assert {"redness", "probe_distance"} <= set(plot_data(evaluation).split("\n")[0].split(","))


def test_a_new_metric_is_in_mlflow(evaluation):
    logged = evaluation_metrics(evaluation.as_json())
    assert {"cfg_3.5.redness", "cfg_4.5.probe_distance", "weight_norm"} <= set(logged)
    assert {"x0_mse.t999", "x0_mse.mean", "parameterisation_ratio"} <= set(logged)
    assert not set(EVALUATION_FACTS) & set(logged)


def test_a_new_metric_is_in_the_report(evaluation, small_params):
    page = render_report(evaluation, small_params, checkpoint="c0ffee", training={})
    title = "Share of &lt;red&gt;"
    assert f'<div class="chart-title">{title}</div>' in page
    assert re.search(rf'<th scope="row"[^>]*>{title}</th><td class="n', page), (
        "a row of the numbers"
    )
    assert "How much of the light is red &amp; warm." in page
    assert '<a href="#content">Content</a>' in page
    assert '<div class="chart-title">Distance of the probe</div>' in page
    assert '<th scope="row">Norm of the weights</th>' in page


def test_a_limit_makes_a_check_of_the_gate(evaluation, pipeline, checkpoint, small_params, holdout):
    (check,) = [check for check in evaluation.gate.checks if check.name == "redness"]
    assert (check.state, check.limit, check.from_below) == ("pass", 0.01, True)

    class TooStrict(Redness):
        limit = 0.99

    gate = evaluated(pipeline, checkpoint, small_params, holdout, metrics=(TooStrict,)).gate
    assert gate.verdict == "reject"
    assert gate.reason == "not passed: redness"


def test_a_limit_counts_from_the_side_that_is_bad():
    def state(direction, value):
        metric = type("Limited", (Redness,), {"direction": direction, "limit": 0.5})()
        return metric.check(value).state

    assert [state("higher", value) for value in (0.4, 0.5, 0.6)] == ["fail", "pass", "pass"]
    assert [state("lower", value) for value in (0.4, 0.5, 0.6)] == ["pass", "pass", "fail"]
    assert [state("zero", value) for value in (-0.6, -0.4, 0.6)] == ["fail", "pass", "fail"]
    assert state("lower", None) == "skipped"


def test_a_new_metric_is_in_the_comparison(table):
    redder = table.assign(value=table["value"] + 0.1 * (table["metric"] == "redness"))
    found = improvements(table, redder, (*METRICS, *EXTRA), cfg_scale=4.5)
    assert found["redness"].mean == pytest.approx(0.1)
    assert found["redness"].low > 0
    assert found["diversity"].mean == 0
    assert not {"probe_distance", "weight_norm", "luminance", "loss"} & set(found)


def test_a_metric_that_lacks_what_it_needs_says_so(pipeline, checkpoint, small_params, tmp_path):
    class Careful(Probe):
        def of_scale(self, values):
            assert not self.prompts
            return {}

    evaluation = evaluated(pipeline, checkpoint, small_params, None, metrics=(Careful,))
    assert set(evaluation.not_run) == {"Distance of the probe"}
    page = render_report(evaluation, small_params, checkpoint="c0ffee", training={})
    assert page.count("Distance of the probe") == 2, "not run, and what it means"


def test_a_prompt_without_a_real_image_is_not_shown_to_a_metric_that_needs_one(evaluation):
    (probe,) = [metric for metric in evaluation.metrics if isinstance(metric, Probe)]
    assert probe.prompts == {"holdout"}


def test_an_evaluation_has_metrics_of_its_own(pipeline, checkpoint, small_params, holdout):
    runs = [
        evaluated(pipeline, checkpoint, small_params, holdout, metrics=(Probe,)) for _ in range(2)
    ]
    assert runs[0].metrics[0] is not runs[1].metrics[0]
    assert runs[0].scales == runs[1].scales


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_each_metric_says_what_a_reader_needs(metric):
    assert metric.meaning.endswith(".")
    assert metric.unit
    assert metric.title[0].isupper()
    assert metric.name not in EVALUATION_FACTS
    assert pd.Series([metric.name]).str.fullmatch(r"[a-z][a-z0-9_]*").all()


def test_names_and_titles_are_unique():
    for field in ("name", "title"):
        values = [getattr(metric, field) for metric in METRICS]
        assert len(set(values)) == len(values)
