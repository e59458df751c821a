from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file
from tests.model.conftest import NOISE, SCALING, write_checkpoint

from nadir.diffusion.samplers import make_sampler
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.model.checkpoint.folding import STOCK_SCALING
from nadir.model.load import LatentScaling, load_checkpoint_info, load_pipeline
from nadir.model.sdxl.hashing import encoder_hash, unet_hash
from nadir.model.sdxl.networks import load_unet, load_vae
from nadir.model.single_file.writing import export_single_file

# Stock Euler clamps an infinite sigma to 4096, and starts a finite one with sigma n and not with
# sqrt(1 + sigma^2) n.
NEAR = 3e-3


def draw(pipeline: StableDiffusionXLPipeline, prompt: str = "1girl, red_hair") -> torch.Tensor:
    """Pixels [H, W, 3] in 0 to 1."""
    pipeline.set_progress_bar_config(disable=True)
    images = pipeline(
        prompt,
        num_inference_steps=8,
        guidance_scale=4.5,
        height=48,
        width=64,
        generator=torch.Generator().manual_seed(1),
        output_type="np",
    ).images
    return torch.from_numpy(images[0])


def test_stock_diffusers_draws_what_our_own_sampler_draws(checkpoint: Path) -> None:
    stock = StableDiffusionXLPipeline.from_pretrained(checkpoint, local_files_only=True)
    ours = draw(load_pipeline(checkpoint, spacing="trailing"))
    assert ours.shape == (48, 64, 3)
    torch.testing.assert_close(draw(stock), ours, rtol=0, atol=NEAR)
    assert not torch.allclose(draw(stock, "blue_hair"), ours, atol=2 * NEAR)


def test_stock_ddim_draws_it_to_the_last_digit_where_the_steps_divide_a_thousand(
    checkpoint: Path,
) -> None:
    stock = StableDiffusionXLPipeline.from_pretrained(checkpoint, local_files_only=True)
    stock.scheduler = DDIMScheduler.from_config(stock.scheduler.config)
    ours = draw(load_pipeline(checkpoint, spacing="trailing"))
    torch.testing.assert_close(draw(stock), ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "noise",
    [
        {"prediction": "epsilon", "zero_terminal_snr": False},
        {"prediction": "x0"},
        {"sigma_shift": 2.0},
    ],
)
def test_so_it_does_for_other_noise_and_scaling(
    tmp_path: Path, base: Path, noise: dict[str, Any]
) -> None:
    scaling = LatentScaling("sdxl", scaling_factor=0.7)
    folder = write_checkpoint(tmp_path / "checkpoint", base, scaling=scaling, **noise)
    stock = StableDiffusionXLPipeline.from_pretrained(folder, local_files_only=True)
    ours = draw(load_pipeline(folder, spacing="trailing"))
    torch.testing.assert_close(draw(stock), ours, rtol=0, atol=NEAR)


def test_what_was_trained_with_is_read_back(checkpoint: Path) -> None:
    info = load_checkpoint_info(checkpoint)
    assert info.noise == NOISE
    assert info.latent_scaling == SCALING
    assert info.training == {"steps": 7}


def test_without_nadir_json_the_configs_say_how_to_draw_the_same(
    checkpoint: Path, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    shutil.copytree(checkpoint, plain)
    (plain / "nadir.json").unlink()
    info = load_checkpoint_info(plain)
    assert info.noise == NOISE
    assert info.latent_scaling == STOCK_SCALING
    torch.testing.assert_close(draw(load_pipeline(plain)), draw(load_pipeline(checkpoint)))


def test_named_and_ready_samplers_are_used(checkpoint: Path) -> None:
    schedule = NoiseSchedule.from_settings(**NOISE)
    ready = make_sampler(schedule, prediction="v", name="heun", spacing="native")
    assert load_pipeline(checkpoint, sampler=ready).scheduler is ready
    named = draw(load_pipeline(checkpoint, sampler="heun", spacing="native"))
    torch.testing.assert_close(named, draw(load_pipeline(checkpoint, sampler=ready)))


def test_parts_of_the_base_share_its_disk_space_and_stay_as_they_were(
    checkpoint: Path, base: Path
) -> None:
    name = "text_encoder/model.safetensors"
    assert (checkpoint / name).samefile(base / name)
    # Whose latents are cached by this hash.
    assert encoder_hash(load_vae(checkpoint)) != encoder_hash(load_vae(base))
    assert unet_hash(load_unet(checkpoint)) != unet_hash(load_unet(base))


def test_a_checkpoint_is_replaced_as_a_whole_and_names_no_local_path(
    tmp_path: Path, base: Path
) -> None:
    folder = write_checkpoint(tmp_path / "checkpoint", base)
    (folder / "left over").touch()
    write_checkpoint(folder, base)
    assert not (folder / "left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]
    texts = {path: path.read_text() for path in folder.rglob("*.json")}
    assert not [path for path, text in texts.items() if str(base.parent) in text]


def test_equal_checkpoints_have_equal_bytes(tmp_path: Path, base: Path) -> None:
    folders = [write_checkpoint(tmp_path / name, base) for name in ("a", "b")]
    contents = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
        for folder in folders
    ]
    assert contents[0] == contents[1]


def test_the_empty_prompt_is_encoded_not_zeroed(checkpoint: Path) -> None:
    assert read_json(checkpoint / "model_index.json")["force_zeros_for_empty_prompt"] is False


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NadirError, match="no diffusers model here") as caught:
        load_pipeline(tmp_path)
    assert "models/checkpoint" in caught.value.fix


def test_a_checkpoint_of_a_newer_format_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    newer = tmp_path / "newer"
    shutil.copytree(checkpoint, newer)
    (newer / "nadir.json").unlink()
    write_json(newer / "nadir.json", {"format": 3})
    with pytest.raises(NadirError, match="format 3, this version reads 2"):
        load_checkpoint_info(newer)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"prediction_type": "epsilon", "rescale_betas_zero_snr": False},
            "prediction v, .* epsilon",
        ),
        ({"rescale_betas_zero_snr": False}, "zero_terminal_snr True, .* says False"),
        ({"beta_end": 0.02}, "beta_end 0.012, .* says 0.02"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "FlowMatchEulerDiscreteScheduler"),
    ],
)
def test_a_scheduler_that_contradicts_nadir_json_is_refused(
    checkpoint: Path, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    edited = tmp_path / "edited"
    shutil.copytree(checkpoint, edited)
    config = edited / "scheduler/scheduler_config.json"
    value = read_json(config) | changes
    config.unlink()
    write_json(config, value)
    with pytest.raises(NadirError, match=message):
        load_checkpoint_info(edited)


def test_another_class_for_the_same_process_is_no_contradiction(
    checkpoint: Path, tmp_path: Path
) -> None:
    edited = tmp_path / "edited"
    shutil.copytree(checkpoint, edited)
    stock = StableDiffusionXLPipeline.from_pretrained(checkpoint, local_files_only=True).scheduler
    (edited / "scheduler/scheduler_config.json").unlink()
    DDIMScheduler.from_config(stock.config).save_pretrained(edited / "scheduler")
    assert load_checkpoint_info(edited).noise == NOISE


@pytest.mark.parametrize(
    ("name", "form"),
    [("conv_in.scale_weight", "scaled fp8"), ("conv_in.weight.absmax", "bitsandbytes")],
)
def test_quantised_weights_of_a_folder_are_neither_drawn_with_nor_exported(
    checkpoint: Path, tmp_path: Path, name: str, form: str
) -> None:
    folder = tmp_path / "quantised"
    shutil.copytree(checkpoint, folder)
    weights = folder / "unet/diffusion_pytorch_model.safetensors"
    state = load_file(weights) | {name: torch.ones(1)}
    weights.unlink()
    save_file(state, weights, {"format": "pt"})
    with pytest.raises(NadirError, match=rf"its unet has {form}"):
        load_pipeline(folder)
    with pytest.raises(NadirError, match=rf"its unet has {form}"):
        export_single_file(folder, tmp_path / "x.safetensors")
