"""A whole small evaluation: what is drawn is measured, and faults show in the verdict."""

from __future__ import annotations

import base64
import io
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tests.support.small_checkpoint import BUCKETS, write_holdout
from tests.support.small_evaluation import HOSTILE, evaluated

from nadir.evaluation.known_tags import known_tags, unknown_tags
from nadir.evaluation.metrics.brightness import region_luminance
from nadir.evaluation.metrics.sets.neighbour_table import SHOWN
from nadir.evaluation.report.grid import sample_grid, scaled, tile_size
from nadir.evaluation.report.page import render_report
from nadir.evaluation.report.samples import sample_sheets
from nadir.evaluation.results import EVALUATION, to_table
from nadir.ground.files import write_json
from nadir.model.load import load_pipeline


@pytest.fixture(scope="module")
def params(small_params):
    return small_params


@pytest.fixture(scope="module")
def evaluation(pipeline, checkpoint, params, holdout):
    return evaluated(pipeline, checkpoint, params, holdout)


@pytest.fixture(scope="module")
def rows(evaluation):
    return pd.DataFrame([vars(row) for row in evaluation.rows])


def test_every_image_has_its_values(evaluation, rows, params):
    drawn = rows[rows["cfg_scale"].notna()]
    keys = drawn.groupby(["cfg_scale", "prompt_id", "seed"]).size()
    assert len(keys) == evaluation.plan.images
    assert {"luminance", "chroma", "clip_fraction", "contrast"} <= set(drawn["metric"])
    gaps = drawn[drawn["metric"] == "chroma_gap"]
    assert set(gaps["prompt_id"]) == {p.id for p in evaluation.plan.of_kind("holdout")}
    losses = rows[rows["metric"].str.startswith("x0_mse_t")]
    assert losses["cfg_scale"].isna().all()
    assert len(losses) == params.loss_images * 9


def test_numbers_per_scale_come_from_the_rows(evaluation, rows):
    for key, numbers in evaluation.scales.items():
        here = rows[rows["cfg_scale"] == float(key)]
        errors = here[here["metric"] == "brightness_error"]["value"]
        assert numbers["brightness_error"] == pytest.approx(np.sqrt((errors**2).mean()))
        black = here[(here["prompt_id"] == "black") & (here["metric"] == "luminance")]["value"]
        assert numbers["black_luminance"] == pytest.approx(black.mean())
        gap = here[here["metric"] == "contrast_gap"]["value"]
        assert numbers["contrast_gap"] == pytest.approx(gap.mean())
        assert {"white_luminance", "clip_gap", "diversity", "spectrum_distance"} <= set(numbers)


def test_a_probe_is_measured_in_its_own_region(evaluation, rows):
    white = next(p for p in evaluation.plan.prompts if p.id == "white")
    picture = np.asarray(evaluation.pictures[4.5, "white", 1], dtype=np.float32) / 255
    seen = region_luminance(picture.transpose(2, 0, 1)[None], white.region)[0]
    told = rows[
        (rows["prompt_id"] == "white") & (rows["seed"] == 1) & (rows["cfg_scale"] == 4.5)
        & (rows["metric"] == "luminance")
    ]["value"]  # fmt: skip
    assert float(told.iloc[0]) == pytest.approx(seen, abs=0.003)


def test_the_loss_knows_the_scaling_and_the_terminal_step_of_an_untrained_model(evaluation):
    loss = evaluation.checkpoint["loss"]
    assert set(loss) >= {"t999", "mean"}
    assert loss["t999"] == pytest.approx(1.0, rel=0.6)
    assert evaluation.checkpoint["parameterisation_ratio"] < 1


def test_json_is_plain_and_finite(evaluation):
    value = evaluation.as_json()
    assert value["gate"]["verdict"] == "promote"
    assert value["nonfinite"] == 0
    assert all(math.isfinite(v) for row in value["cfg_scales"].values() for v in row.values())
    assert set(value["cfg_scales"]) == {"3.5", "4.5"}


def test_the_table_holds_one_row_per_value(evaluation):
    table = to_table(evaluation.rows, protocol_id="p", checkpoint="c")
    assert table.schema == EVALUATION
    assert table.num_rows == len(evaluation.rows)


@pytest.fixture(scope="module")
def strict(params):
    return params.model_copy(update={"max_brightness_error": 1e-3, "cfg_scales": (4.5,)})


def test_a_checkpoint_that_misses_the_brightness_limit_is_rejected(
    pipeline, checkpoint, strict, holdout
):
    asked = {tag.strip() for probe in strict.brightness for tag in probe.prompt.split(",")}
    gate = evaluated(pipeline, checkpoint, strict, holdout, known=asked).gate
    assert gate.verdict == "reject"
    assert gate.reason == "not passed: brightness error"


def test_a_probe_in_words_that_no_image_taught_leaves_the_verdict_open(
    pipeline, checkpoint, strict, holdout
):
    known = known_tags(holdout / "tags.parquet") | {"1girl", "solo"}
    evaluation = evaluated(pipeline, checkpoint, strict, holdout, known=known)
    assert evaluation.gate.verdict == "inconclusive"
    page = render_report(evaluation, strict, checkpoint="c0ffee", training={})
    missing = "No training image has black_hair, full_body, dark, black_background"
    assert missing in page
    assert "evaluate.brightness" in page


def test_a_tag_is_known_by_any_of_its_names_however_it_is_written(holdout):
    known = known_tags(holdout / "tags.parquet")
    assert unknown_tags(["Blue Hair, happy,smile", "dragon, , dragon"], known) == ("dragon",)
    assert unknown_tags(["artist:blue_hair, Copyright:Dragon"], known) == ("Copyright:Dragon",)


def test_non_finite_weights_are_rejected_and_every_other_output_still_exists(
    checkpoint, params, holdout, tmp_path
):
    pipeline = load_pipeline(checkpoint)
    with torch.no_grad():
        pipeline.unet.conv_out.bias.fill_(float("nan"))
    evaluation = evaluated(pipeline, checkpoint, params, holdout)
    assert evaluation.health.nonfinite == evaluation.plan.images
    assert evaluation.gate.verdict == "reject"
    assert "finite images" in evaluation.gate.reason
    write_json(tmp_path / "evaluation.json", evaluation.as_json())
    assert all(math.isfinite(row.value) for row in evaluation.rows)
    assert "does not pass" in render_report(evaluation, params, checkpoint="c0ffee", training={})
    assert "grid.png" in sample_sheets(evaluation)


def test_without_a_hold_out_the_rest_still_runs_and_says_what_is_missing(
    pipeline, checkpoint, params
):
    evaluation = evaluated(pipeline, checkpoint, params, None)
    assert evaluation.checkpoint["loss"] == {}
    assert "parameterisation_ratio" not in evaluation.checkpoint
    assert "chroma_gap" not in evaluation.scales["4.5"]
    assert evaluation.scales["4.5"]["brightness_error"] > 0
    assert evaluation.gate.verdict == "promote"
    assert {"Loss by noise level", "Chroma gap"} <= set(evaluation.not_run)
    assert "Not run" in render_report(evaluation, params, checkpoint="c0ffee", training={})


def test_one_seed_has_no_diversity_and_says_so(pipeline, checkpoint, params, holdout):
    single = params.model_copy(update={"seeds": (1,), "cfg_scales": (4.5,)})
    evaluation = evaluated(pipeline, checkpoint, single, holdout)
    assert "diversity" not in evaluation.scales["4.5"]
    assert "two seeds" in evaluation.not_run["Diversity"]


@pytest.fixture(scope="module")
def beside_reals(pipeline, checkpoint, params, tmp_path_factory):
    data = tmp_path_factory.mktemp("reals")
    write_holdout(data, images=20, training=60)
    more = params.model_copy(update={"holdout_prompts": 8, "loss_images": 8, "cfg_scales": (4.5,)})
    return evaluated(pipeline, checkpoint, more, data)


def test_with_enough_real_images_the_drawn_are_compared_with_them(beside_reals):
    numbers = beside_reals.scales["4.5"]
    assert {"kid_random_features", "sliced_wasserstein", "recall", "coverage"} <= set(numbers)
    assert 0 <= numbers["memorisation"] <= 1
    assert numbers["tag_recall"] > 0, "the two colours of hair can be told apart"
    assert numbers["tag_precision"] > 0
    assert "colour_binding" not in numbers, "no image has a coloured background"
    assert not set(beside_reals.not_run) & {"Tag recall", "Coverage"}


def test_the_worst_tags_are_in_the_report_with_pictures_of_each(beside_reals, params):
    page = render_report(beside_reals, params, checkpoint="c0ffee", training={})
    assert '<a href="#content">Tags</a>' in page
    assert "The 2 worst tags, CFG 4.5" in page
    assert len(re.findall(r' alt="(?:red|blue)_hair in: [^"]+, seed \d"', page)) == 2 * 4
    assert "2 tags can be judged" in page


def test_the_pictures_nearest_to_training_images_are_in_the_report_beside_them(
    beside_reals, params
):
    page = render_report(beside_reals, params, checkpoint="c0ffee", training={})
    assert "Nearest to training images, CFG 4.5" in page
    for kind in ("training", "held-out"):
        assert len(re.findall(rf'alt="{kind} image [0-9a-f]{{12}}"', page)) == SHOWN
    table = page[page.index("Nearest to training images") :]
    shown = re.findall(r'src="data:image/webp;base64,([^"]+)" alt="training', table)
    sizes = {Image.open(io.BytesIO(base64.b64decode(one))).size for one in shown}
    assert sizes <= set(BUCKETS), "as the VAE renders them, not the cells that are compared"
    ratios = [float(text) for text in re.findall(r'<td class="n">([\d.]+)</td>', table)[:SHOWN]]
    assert ratios == sorted(ratios)


def test_the_ladder_and_the_canvases_are_measured_at_the_deciding_scale(evaluation, rows):
    assert {"ladder_error", "ladder_slope", "ladder_range"} <= set(evaluation.scales["4.5"])
    assert {"canvas_error", "canvas_error_48x24"} <= set(evaluation.scales["4.5"])
    assert not {"ladder_error", "canvas_error"} & set(evaluation.scales["3.5"])
    assert evaluation.pictures[4.5, "black_48x24", 1].size == (48, 24)
    guessed = rows[rows["metric"] == "terminal_canvas"]
    assert len(guessed) == 2 * 5
    assert guessed["value"].between(0, 1).all()


def test_two_runs_agree_exactly(pipeline, checkpoint, params, holdout, evaluation):
    again = evaluated(pipeline, checkpoint, params, holdout)
    assert again.as_json() == evaluation.as_json()
    assert again.rows == evaluation.rows


def test_the_report_is_safe_whole_and_repeatable(evaluation, params):
    page = render_report(
        evaluation, params, checkpoint="c0ffee", training={"steps": 7, "note": HOSTILE}
    )
    assert HOSTILE not in page
    assert page.count("<script") == 1
    assert "http" not in page
    strips = evaluation.plan.of_kind("brightness", "ladder", "canvas")
    assert page.count("<img") == 2 * 4 * 2 + 2 * 2 + 2 * len(strips)
    assert "passes its own checks" in page
    assert evaluation.plan.protocol_id in page
    assert not re.search(r">\s*(nan|inf|None)\s*<", page)
    assert page == render_report(
        evaluation, params, checkpoint="c0ffee", training={"steps": 7, "note": HOSTILE}
    )


def test_samples_hold_a_sheet_per_scale_and_single_pictures(evaluation):
    sheets = sample_sheets(evaluation)
    assert {"grid.png", "cfg-3.5.png", "cfg-4.5.png"} <= set(sheets)
    assert sum(name.startswith("prompt_") for name in sheets) == 2 * 2 * 2
    single = next(picture for name, picture in sheets.items() if name.startswith("prompt_"))
    assert single.size == (32, 32)


def test_tiny_pictures_grow_by_whole_factors_and_large_ones_shrink(evaluation):
    picture = next(iter(evaluation.pictures.values()))
    assert tile_size(picture) == (160, 160)
    grown = np.asarray(scaled(picture))
    assert np.array_equal(grown[::5, ::5], np.asarray(picture))
    assert tile_size(picture.resize((2048, 1024))) == (384, 192)
    sheet = sample_grid([[picture] * 3] * 2, row_labels=["a", "b"], column_labels=["1", "2", "3"])
    assert sheet.width > 3 * 160
    assert sheet.height > 2 * 160
