"""What the report says of a checkpoint's making, of chance in its checks, and of usable scales."""

from __future__ import annotations

import hashlib
import re

import pytest
from tests.support.small_checkpoint import write_holdout
from tests.support.small_evaluation import HOSTILE, evaluated

from nadir.evaluation.metrics.chroma import ChromaGap
from nadir.evaluation.metrics.parameterisation import ratio_interval
from nadir.evaluation.report.lineage import with_registration
from nadir.evaluation.report.origin import read_origin
from nadir.evaluation.report.page import render_report
from nadir.evaluation.report.shown import thumbnail_side
from nadir.evaluation.report.training_curve import training_charts
from nadir.evaluation.report.usable import obstacles
from nadir.training.reports.history import History

FACTS = {"fingerprint": "f" * 64, "steps": 7}


def curve(path, steps=40):
    """The file that `train` writes, by its own writer."""
    history = History(steps, lambda step: 4 * step)
    for step in range(1, steps + 1):
        history.add(step, loss=1 / step, unweighted=2 / step, gradient_norm=1.0)
    bands = {f"heldout_{name}_sigma": {20: 0.5, 40: 0.25} for name in ("low", "mid", "high")}
    history.write_csv(path, bands)
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_holdout(folder, images=20, training=60)
    return folder


@pytest.fixture(scope="module")
def origin(data):
    return read_origin(
        FACTS,
        manifest=data / "manifest.parquet",
        tags=data / "tags.parquet",
        latents=data / "latents",
        curve=curve(data / "loss.csv"),
    )


@pytest.fixture(scope="module")
def evaluation(pipeline, checkpoint, small_params, data):
    more = small_params.model_copy(update={"holdout_prompts": 8, "loss_images": 8})
    return evaluated(pipeline, checkpoint, more, data)


@pytest.fixture(scope="module")
def page(evaluation, small_params, origin):
    return render_report(evaluation, small_params, checkpoint="c0ffee", training={}, origin=origin)


def section(page, name):
    return re.search(rf'<section id="{name}".*?</section>', page, re.DOTALL)[0]


def test_the_course_of_the_training_is_shown_by_band_of_sigma(page):
    training = section(page, "training")
    assert "Training loss" in training
    assert "Held-out error by band of sigma" in training
    assert all(f"{name}: 0.25 at 160" in training for name in ("low", "mid", "high"))


def test_a_training_without_held_out_images_or_a_curve_shows_what_there_is(tmp_path):
    assert training_charts(tmp_path / "none.csv") == []
    file = curve(tmp_path / "loss.csv")
    only = [line.rsplit(",", 3)[0] for line in file.read_text().splitlines()]
    file.write_text("\n".join(only) + "\n")
    (chart,) = training_charts(file)
    assert "Training loss" in chart


def test_the_data_are_counted(page):
    data = section(page, "data")
    assert re.search(r"Training images</dt><dd>60</dd><dd class=\"note\">and 20 that", data)
    assert "64 x 64" in data
    assert "red_hair" in data
    assert "48x24" in data


def test_the_lineage_names_hashes_as_dvc_does_and_leaves_room_for_the_registry(page, data):
    lineage = section(page, "lineage")
    for name in ("manifest.parquet", "tags.parquet", "latents/index.parquet"):
        assert hashlib.md5((data / name).read_bytes()).hexdigest() in lineage
    assert "80 images" in lineage
    assert FACTS["fingerprint"] in lineage
    whole = with_registration(page, {"Commit": "abc", "Reason": HOSTILE})
    assert '<th scope="row">Commit</th><td class="mono">abc</td>' in section(whole, "lineage")
    assert HOSTILE not in whole
    assert with_registration("<p>an older page</p>", {"Commit": "abc"}) == "<p>an older page</p>"


def test_a_model_made_elsewhere_has_no_such_parts(evaluation, small_params):
    page = render_report(evaluation, small_params, checkpoint="c0ffee", training={})
    assert not {"training", "data", "lineage"} & set(re.findall(r'<section id="(\w+)"', page))


def test_checks_have_intervals_around_their_values(page, evaluation):
    rows = re.findall(
        r"<tr><td>(\w[\w ]+)<small>.*?<td class=\"n\">([\d.]+)</td><td class=\"n\">(.*?)</td>",
        section(page, "gate"),
    )
    found = {name: (float(value), interval) for name, value, interval in rows}
    assert found["Finite images"][1] == ""
    for name in ("Parameterisation", "Brightness error"):
        value, interval = found[name]
        low, high = map(float, interval.split(" to "))
        assert low <= value <= high
        assert high > low


def test_the_interval_of_a_ratio_of_errors_shrinks_with_images(pipeline, evaluation):
    assert ratio_interval([], pipeline.scheduler.schedule) is None
    assert evaluation.checkpoint["parameterisation_ratio"] > 0


class Burnt(ChromaGap):
    """Chroma gap of a model whose colours are far from those of real images from some scale on."""

    def of_scale(self, values):
        gap = super().of_scale(values)[self.name]
        return {self.name: gap - gap + (9.0 if values.cfg_scale > 4 else 0.0)}


def test_a_scale_whose_colours_no_real_image_has_is_not_usable(
    pipeline, checkpoint, small_params, data
):
    more = small_params.model_copy(update={"holdout_prompts": 8, "loss_images": 8})
    found = evaluated(pipeline, checkpoint, more, data, metrics=[Burnt])
    assert obstacles(found) == {3.5: [], 4.5: ["Chroma gap"]}
    page = render_report(found, small_params, checkpoint="c", training={})
    assert re.search(r"Usable by itself:\s*<strong>CFG 3.5</strong>", page)
    assert "At 4.5 not: chroma gap." in page


def test_few_held_out_images_say_nothing_of_what_is_usual():
    assert ChromaGap().usual() is None


def test_many_pictures_are_small_ones():
    assert thumbnail_side(100) > thumbnail_side(200) > thumbnail_side(480) == thumbnail_side(999)
