"""The protocol id changes with everything that shapes an image, and with nothing else."""

from __future__ import annotations

import pytest

from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.evaluation.protocol import GRID_SEEDS, make_plan

NOISE = {"prediction": "v", "zero_terminal_snr": True, "beta_schedule": "scaled_linear"}
HOLDOUT = [("aaa", "1girl, smile"), ("bbb", "1boy"), ("ccc", "2girls")]


@pytest.fixture
def params(root):
    return read_section("evaluate", EvaluateParams, root / "params.yaml")


def plan_of(params, **changes):
    settings = {"holdout": HOLDOUT, "noise": NOISE, "token_chunks": 1} | changes
    return make_plan(params, **settings)


def test_equal_plans_have_equal_ids(params):
    assert plan_of(params).protocol_id == plan_of(params).protocol_id
    assert len(plan_of(params).protocol_id) == 16


@pytest.mark.parametrize(
    "change",
    [
        {"sampler": "ddim"},
        {"spacing": "native"},
        {"steps": 7},
        {"width_px": 128},
        {"seeds": (3, 4)},
        {"prompts": ("1girl",)},
        {"cfg_scales": (4.5,)},
        {"guidance_rescale": 0.7},
        {"holdout_prompts": 1},
        {"brightness_ladder": ()},
        {"colour_binding": None},
        {"canvases": ((96, 40),)},
    ],
)
def test_each_setting_that_shapes_images_changes_the_id(params, change):
    assert plan_of(params.model_copy(update=change)).protocol_id != plan_of(params).protocol_id


@pytest.mark.parametrize(
    "change",
    [
        {"holdout": HOLDOUT[:1]},
        {"loss_images": ["aaa:8x8"]},
        {"latent_std": [0.9, 1.1, 1.0, 1.2]},
        {"metrics": ["loss"]},
    ],
)
def test_what_the_data_and_the_metrics_bring_changes_the_id(params, change):
    assert plan_of(params, **change).protocol_id != plan_of(params).protocol_id


@pytest.mark.parametrize(
    "change",
    [
        {"noise": NOISE | {"prediction": "epsilon"}},
        {"token_chunks": 3},
        {"original_size": (256, 256)},
    ],
)
def test_how_a_checkpoint_wants_to_be_asked_is_part_of_it_and_not_of_the_protocol(params, change):
    assert plan_of(params, **change).protocol_id == plan_of(params).protocol_id


@pytest.mark.parametrize("change", [{"batch_size": 3}, {"max_brightness_error": 0.1}])
def test_what_shapes_no_image_leaves_the_id_alone(params, change):
    assert plan_of(params.model_copy(update=change)).protocol_id == plan_of(params).protocol_id


def test_probes_have_every_seed_and_pictures_only_the_first_few(params):
    plan = plan_of(params)
    assert all(prompt.seeds == params.seeds for prompt in plan.of_kind("brightness"))
    pictured = [*plan.of_kind("fixed"), *plan.of_kind("holdout")]
    assert all(prompt.seeds == params.seeds[:GRID_SEEDS] for prompt in pictured)
    everywhere = [*plan.of_kind("brightness"), *pictured]
    images = sum(len(p.seeds) for p in everywhere) * len(params.cfg_scales)
    images += sum(len(p.seeds) for p in plan.of_kind("ladder", "binding", "canvas"))
    assert plan.images == images


def test_a_prompt_keeps_its_id_when_the_list_is_reordered(params):
    turned = params.model_copy(update={"prompts": params.prompts[::-1]})
    ids = {prompt.text: prompt.id for prompt in plan_of(params).of_kind("fixed")}
    assert ids == {prompt.text: prompt.id for prompt in plan_of(turned).of_kind("fixed")}


def test_ids_of_prompts_are_unique(params):
    ids = [prompt.id for prompt in plan_of(params).prompts]
    assert len(set(ids)) == len(ids)


def test_levels_colours_and_canvases_are_drawn_at_the_deciding_scale_alone(params):
    plan = plan_of(params)
    extra = plan.of_kind("ladder", "binding", "canvas")
    assert len(extra) == 3 + 2 * 2 + 2 * 2
    drawn = {scale: [p for ps in plan.by_size(scale).values() for p in ps] for scale in (3.5, 4.5)}
    assert {p.id for p in drawn[4.5]} - {p.id for p in drawn[3.5]} == {p.id for p in extra}
    assert set(plan.by_size(4.5)) == {(64, 64), (96, 40), (40, 96)}
    assert set(plan.by_size(3.5)) == {(64, 64)}
    asked = {p.colours: p.text for p in plan.of_kind("binding")}
    assert asked["red_hair", "blue_background"].endswith(", red_hair, blue_background")
