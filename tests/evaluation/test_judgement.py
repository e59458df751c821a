"""The verdict beside the champion: better is promoted, worse rejected, doubt is counted."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.verdict.halves import Halves
from nadir.evaluation.verdict.intervals import bootstrap_mean, stratified_mean
from nadir.evaluation.verdict.judgement import by_scale, choose_scale, criteria, judge
from nadir.evaluation.verdict.noise_floor import noise_floor
from nadir.ground.errors import NadirError

SCALES = (3.5, 4.5, 5.5)
GUARDS = {"chroma_gap": 0.05, "diversity": 0.05, "brightness_error": 0.05}
PROMOTING = {"policy": "auto", "answer_within_h": 24, "smoke_pictures": 0}
PARAMS = GateParams.model_validate(
    {"primary": {"metric": "loss", "margin": 0.0}, "guards": GUARDS, "cfg_scale": None, **PROMOTING}
)
ALONE = PARAMS.model_copy(update={"guards": {}})
WIDE = PARAMS.model_copy(update={"primary": PARAMS.primary.model_copy(update={"margin": 0.01})})


class Model:
    """Evaluation tables of one imagined model; prompts differ much more than seeds do.

    Its seeds are drawn anew for each table, as if the same weights were drawn with other noise.
    """

    def __init__(self, rng, *, loss=0.3, worse=None, images=64, prompts=24):
        self.rng, self.loss, self.worse = rng, loss, worse or {}
        self.images, self.prompts = images, prompts

    def table(self, difficulty, protocol="p", metrics=tuple(GUARDS)):
        rows = []
        noise = self.rng.normal
        for image in range(self.images):
            value = self.loss * difficulty["loss"][image] + noise(0, 0.01)
            rows.append((None, f"image_{image}", 0, "loss", value))
        for scale in SCALES:
            for metric in metrics:
                many, seeds = (2, 8) if metric == "brightness_error" else (self.prompts, 4)
                shift = self.worse.get(metric, 0.0) * (-1 if metric == "diversity" else 1)
                for prompt in range(many):
                    mean = difficulty[metric][prompt] + shift + 0.01 * (scale - 3.5)
                    for seed in range(seeds):
                        value = mean + noise(0, 0.02)
                        rows.append((scale, f"{metric}_{prompt}", seed, metric, value))
        frame = pd.DataFrame(rows, columns=["cfg_scale", "prompt_id", "seed", "metric", "value"])
        return frame.assign(protocol_id=protocol, checkpoint="c").astype({"cfg_scale": "float64"})


def difficulty_of(rng, images=64, prompts=24):
    return {
        "loss": rng.uniform(0.5, 1.5, images),
        **{metric: rng.uniform(0.1, 0.4, prompts) for metric in GUARDS},
    }


def judged(challenger=None, *, seed=0, params=PARAMS, images=64, prompts=24, metrics=tuple(GUARDS)):
    rng = np.random.default_rng(seed)
    size = {"images": images, "prompts": prompts}
    difficulty = difficulty_of(rng, **size)
    champion = Model(rng, **size).table(difficulty, metrics=metrics)
    other = Model(rng, **size, **(challenger or {})).table(difficulty, metrics=metrics)
    return judge(champion, other, params, METRICS, resamples=400)


def states(judgement):
    return {line.criterion.metric: line.state for line in judgement.lines}


def test_a_better_challenger_is_promoted_and_the_reason_gives_the_change_with_its_interval():
    judgement = judged({"loss": 0.28})
    assert judgement.verdict == "promote"
    assert judgement.reason.startswith("better than the champion: loss -0.0")
    assert "95 %" in judgement.reason
    assert "3 guards hold" in judgement.reason
    assert set(states(judgement).values()) == {"pass"}


def test_a_challenger_that_was_trained_too_little_is_rejected_by_its_loss():
    judgement = judged({"loss": 0.41})
    assert judgement.verdict == "reject"
    assert judgement.reason.startswith("worse than the champion: loss +0.1")


@pytest.mark.parametrize("metric", GUARDS)
def test_a_planted_defect_is_named_by_the_guard_meant_for_it_although_the_loss_improved(metric):
    judgement = judged({"loss": 0.25, "worse": {metric: 0.2}})
    assert judgement.verdict == "reject"
    assert metric in judgement.reason
    assert [name for name, state in states(judgement).items() if state == "fail"] == [metric]


def test_the_same_model_with_other_seeds_is_promoted_in_at_most_5_percent_of_200():
    one = PARAMS.model_copy(update={"guards": {"chroma_gap": 0.05}, "cfg_scale": 4.5})
    verdicts = [
        judged(seed=seed, params=one, metrics=["chroma_gap"]).verdict for seed in range(200)
    ]
    assert verdicts.count("promote") <= 10
    assert verdicts.count("reject") <= 10


def test_with_a_margin_the_same_model_is_not_worse_and_promoted():
    verdicts = [judged(seed=seed, params=WIDE) for seed in range(10)]
    assert [judgement.verdict for judgement in verdicts].count("promote") >= 8
    assert any(judgement.reason.startswith("not worse") for judgement in verdicts)


def test_doubt_says_how_many_prompts_would_settle_it():
    judgement = judged({"loss": 0.299}, images=12)
    assert judgement.verdict == "inconclusive"
    (line,) = [line for line in judgement.lines if line.criterion.metric == "loss"]
    assert line.needed is not None
    assert line.needed > 12
    assert f"about {line.needed:,} prompts would settle it (now 12)" in judgement.reason


def test_what_the_reason_asks_for_settles_it_most_of_the_time():
    def lines(images):
        settings = {"params": ALONE, "metrics": [], "images": images}
        return [judged({"loss": 0.298}, seed=seed, **settings).lines[0] for seed in range(30)]

    asked = [line.needed for line in lines(16) if line.needed]
    settled = [line.state for line in lines(int(np.median(asked)))]
    assert settled.count("pass") >= 20


def test_three_prompts_settle_nothing():
    judgement = judged({"loss": 0.1}, images=3)
    assert states(judgement)["loss"] == "unresolved"


def test_the_scale_is_chosen_by_other_prompts_than_those_that_judge():
    rng = np.random.default_rng(1)
    difficulty = difficulty_of(rng)
    champion = Model(rng).table(difficulty)
    _, guards = criteria(PARAMS, METRICS)
    halves = {guard: Halves.of([champion], guard) for guard in guards}
    for guard, parted in halves.items():
        mine = champion[champion["metric"] == guard.metric]
        first, second = parted.choosing(mine), parted.judging(mine)
        assert len(first) == len(second) == len(mine) / 2
        assert not set(first.index) & set(second.index)
    assert choose_scale(champion, halves) == 3.5, "gaps and errors grow with the scale"
    worse = champion.copy()
    of_first = halves[guards[0]].choosing(worse).index
    at = worse.index.isin(of_first) & (worse["metric"] == "chroma_gap") & (worse["cfg_scale"] < 4)
    worse.loc[at, "value"] += 1.0
    assert choose_scale(worse, halves) == 4.5
    kept = judge(champion, worse, PARAMS, METRICS)
    assert kept.scales == {"champion": 3.5, "challenger": 4.5}
    assert states(kept)["chroma_gap"] == "pass", "the judging half did not change"


def test_a_fixed_scale_is_judged_by_all_prompts():
    fixed = PARAMS.model_copy(update={"cfg_scale": 4.5})
    judgement = judged(params=fixed)
    assert judgement.scales == {"champion": 4.5, "challenger": 4.5}
    assert judgement.lines[1].gain.prompts == 24
    assert not judgement.chosen


def test_what_is_drawn_at_one_scale_is_judged_there_by_all_prompts():
    rng = np.random.default_rng(6)
    difficulty = difficulty_of(rng)
    tables = [Model(rng, worse=w).table(difficulty) for w in ({}, {"chroma_gap": 0.2})]
    tables = [t[(t["metric"] != "chroma_gap") | (t["cfg_scale"] == 4.5)] for t in tables]
    judgement = judge(*tables, PARAMS, METRICS, resamples=400)
    (line,) = [line for line in judgement.lines if line.criterion.metric == "chroma_gap"]
    assert (line.cfg_scale, line.gain.prompts, line.state) == (4.5, 24, "fail")


def test_every_guard_is_shown_at_every_scale():
    rng = np.random.default_rng(0)
    difficulty = difficulty_of(rng)
    lines = by_scale(Model(rng).table(difficulty), Model(rng).table(difficulty), PARAMS, METRICS)
    shown = {(line.criterion.metric, line.cfg_scale) for line in lines}
    assert shown == {(metric, scale) for metric in GUARDS for scale in SCALES}


def test_the_noise_floor_is_about_what_the_same_model_differs_by_with_other_seeds():
    _, guards = criteria(PARAMS, METRICS)
    rng = np.random.default_rng(2)
    floors, differences = [], []
    for _ in range(40):
        difficulty = difficulty_of(rng)
        tables = [Model(rng).table(difficulty) for _ in range(2)]
        rows = [
            t[(t["metric"] == "chroma_gap") & (t["cfg_scale"] == 4.5)][
                ["prompt_id", "seed", "value"]
            ]
            for t in tables
        ]
        floors.append(noise_floor(rows[0], guards[0], resamples=400))
        differences.append(rows[0]["value"].mean() - rows[1]["value"].mean())
    assert np.mean(floors) == pytest.approx(1.96 * np.std(differences), rel=0.35)


def test_one_seed_per_prompt_has_no_noise_floor():
    _, guards = criteria(PARAMS, METRICS)
    rows = pd.DataFrame({"prompt_id": ["a", "b"], "seed": [0, 0], "value": [1.0, 2.0]})
    assert noise_floor(rows, guards[0]) is None


@pytest.mark.parametrize("shape", ["normal", "skewed", "heavy"])
@pytest.mark.parametrize("count", [16, 64])
def test_intervals_cover_what_they_say(shape, count):
    rng = np.random.default_rng(3)
    draw = {
        "normal": lambda: rng.normal(1, 1, count),
        "skewed": lambda: rng.lognormal(-0.08, 0.4, count),
        "heavy": lambda: 1 + rng.standard_t(5, count),
    }[shape]
    hits = 0
    for _ in range(600):
        interval = bootstrap_mean(draw(), resamples=500)
        hits += interval.low <= 1 <= interval.high
    assert 0.93 <= hits / 600 <= 0.97


@pytest.mark.parametrize(("groups", "count"), [(1, 6), (2, 4), (5, 4)])
def test_few_values_or_many_equal_ones_have_an_interval_that_decides(groups, count):
    rng = np.random.default_rng(7)

    def widths(draw):
        found = [
            stratified_mean([draw() for _ in range(groups)], resamples=400) for _ in range(200)
        ]
        assert np.mean([one.low <= 0 <= one.high for one in found]) >= 0.93
        return [one.half_width for one in found]

    equal = widths(lambda: rng.normal(size=count) * (rng.random(count) < 0.2))
    assert np.isfinite(equal).all(), "one prompt of six that changed is no reason to know nothing"
    assert max(widths(lambda: rng.normal(size=count))) < 6


def test_intervals_within_fixed_prompts_ignore_what_these_differ_by():
    rng = np.random.default_rng(4)
    hits = 0
    for _ in range(400):
        interval = stratified_mean([rng.normal(m, 0.1, 8) for m in (-5, 5)], resamples=500)
        hits += interval.low <= 0 <= interval.high
        assert interval.half_width < 0.2
    assert 0.93 <= hits / 400 <= 0.975


def test_the_shipped_guards_name_metrics_that_can_be_compared(root):
    for file in (root / "params.yaml", *(root / "presets").glob("*.yaml")):
        _, guards = criteria(read_section("gate", GateParams, file), METRICS)
        named = {"tag_recall_rare", "tag_recall_class_*", "colour_binding"}
        assert named | {"memorisation", "detail_gap"} <= {one.metric for one in guards}


def test_parameters_that_name_no_comparable_metric_are_refused_by_name():
    wrong = PARAMS.model_copy(update={"guards": {"prettiness": 0.1}})
    with pytest.raises(NadirError, match="`prettiness` is not a metric"):
        criteria(wrong, METRICS)
    aimed = PARAMS.model_copy(update={"guards": {"luminance": 0.1}})
    with pytest.raises(NadirError, match="`luminance` has values that are good only beside"):
        criteria(aimed, METRICS)


def test_a_part_of_a_metric_is_compared_as_the_metric_is():
    part = PARAMS.model_copy(update={"guards": {"diversity_rare": 0.1}})
    assert criteria(part, METRICS)[1][0].direction == "higher"


@pytest.mark.parametrize("cfg_scale", [None, 4.5])
def test_a_guard_of_every_part_judges_the_parts_that_enough_prompts_ask_for(cfg_scale):
    """A class that few prompts ask for leaves nothing open; one that is forgotten is named."""
    rng = np.random.default_rng(8)
    names = {"diversity_class_artist": 16, "diversity_class_general": 16, "diversity_class_meta": 3}
    guards = {"diversity_class_*": 0.1}
    every = PARAMS.model_copy(update={"guards": guards, "cfg_scale": cfg_scale})

    def model(forgotten=""):
        losses = [(None, f"image_{i}", 0, "loss", 0.3 - 0.1 * bool(forgotten)) for i in range(16)]
        rows = [
            (scale, f"p{prompt}", seed, name, (name != forgotten) * 0.5 + rng.normal(0, 0.02))
            for name, prompts in names.items()
            for scale in SCALES
            for prompt in range(prompts)
            for seed in range(3)
        ]
        columns = ["cfg_scale", "prompt_id", "seed", "metric", "value"]
        frame = pd.DataFrame([*losses, *rows], columns=columns)
        return frame.assign(protocol_id="p", checkpoint="c").astype({"cfg_scale": "float64"})

    found = judge(model(), model("diversity_class_artist"), every, METRICS, resamples=400)
    assert states(found) == {
        "loss": "pass",
        "diversity_class_artist": "fail",
        "diversity_class_general": "pass",
    }
    assert found.verdict == "reject"
    assert "diversity_class_artist" in found.reason
    titles = [line.criterion.title for line in found.lines[1:]]
    assert titles == ["Diversity: class artist", "Diversity: class general"]
    shown = {line.criterion.metric for line in by_scale(model(), model(), every, METRICS)}
    assert shown == {"diversity_class_artist", "diversity_class_general"}


def test_where_the_prompts_are_the_question_their_seeds_are_exchanged():
    params = PARAMS.model_copy(update={"guards": {"colour_binding": 0.3, "tag_recall": 0.1}})
    assert [guard.unit for guard in criteria(params, METRICS)[1]] == ["seed", "prompt"]


def test_different_protocols_are_never_compared():
    rng = np.random.default_rng(5)
    difficulty = difficulty_of(rng)
    tables = [Model(rng).table(difficulty, protocol) for protocol in "pq"]
    with pytest.raises(NadirError, match="different protocols"):
        judge(*tables, PARAMS, METRICS)


def test_a_judgement_is_plain_json():
    text = json.dumps(judged().as_json(), allow_nan=False)
    assert '"verdict"' in text


@pytest.mark.parametrize("lacks", ["champion", "challenger"])
@pytest.mark.parametrize("cfg_scale", [None, 4.5])
def test_a_guard_that_only_one_of_them_has_holds_nothing(lacks, cfg_scale):
    """Pictures that are not numbers are left out of the table: they must not pass for good ones."""
    rng = np.random.default_rng(0)
    difficulty = difficulty_of(rng)
    metrics = {"champion": tuple(GUARDS), "challenger": tuple(GUARDS)}
    metrics[lacks] = ("diversity",)
    champion = Model(rng).table(difficulty, metrics=metrics["champion"])
    better = Model(rng, loss=0.2).table(difficulty, metrics=metrics["challenger"])
    params = PARAMS.model_copy(update={"cfg_scale": cfg_scale})
    found = judge(champion, better, params, METRICS, resamples=400)
    assert found.verdict == "inconclusive"
    assert "chroma_gap was not measured on both" in found.reason
    assert states(found)["brightness_error"] == "unresolved"


def test_a_challenger_without_any_picture_is_not_promoted():
    rng = np.random.default_rng(0)
    difficulty = difficulty_of(rng)
    champion = Model(rng).table(difficulty)
    blind = Model(rng, loss=0.2).table(difficulty, metrics=())
    found = judge(champion, blind, PARAMS, METRICS, resamples=400)
    assert found.verdict == "inconclusive"


def test_who_judges_loads_no_network_library():
    script = (
        "import sys, nadir.evaluation.metrics, nadir.evaluation.report.judgement_page\n"
        "print(*{'torch', 'transformers', 'diffusers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stdout.strip()
