"""A checkpoint leaves by a single file, comes back through stock diffusers, and is the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline
from safetensors.torch import load_file
from tests.model.conftest import NOISE, SCALING, write_checkpoint
from tests.model.test_checkpoint import draw

from nadir.config.base_model import TinyParams
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.model.sdxl.networks import load_text, load_unet, load_vae
from nadir.model.single_file.writing import export_single_file
from nadir.model.tiny.networks import make_tiny

FACTOR = 0.13025


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, small_tiny: TinyParams) -> Path:
    """With text encoders of unlike widths, by which stock diffusers tells them apart."""
    folder = tmp_path_factory.mktemp("models") / "base"
    make_tiny(folder, small_tiny.model_copy(update={"text_hidden": (16, 24)}))
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "checkpoint", base)


@pytest.fixture(scope="module")
def file(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("single") / "nadir.safetensors"
    export_single_file(checkpoint, file, precision="fp32")
    return file


@pytest.fixture(scope="module")
def back(checkpoint: Path, file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What diffusers makes of the file and the checkpoint's configurations, as a folder."""
    folder = tmp_path_factory.mktemp("models") / "back"
    pipeline = StableDiffusionXLPipeline.from_single_file(
        file, config=str(checkpoint), local_files_only=True, add_watermarker=False
    )
    pipeline.scheduler = EulerDiscreteScheduler.from_pretrained(checkpoint / "scheduler")
    pipeline.save_pretrained(folder)
    return folder


def parts(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    text = load_text(folder)
    models = {
        "unet": load_unet(folder),
        "vae": load_vae(folder),
        "text_encoder": text.text_encoder,
        "text_encoder_2": text.text_encoder_2,
    }
    return {part: model.state_dict() for part, model in models.items()}


def test_every_tensor_comes_back_equal(checkpoint: Path, back: Path) -> None:
    before, after = parts(checkpoint), parts(back)
    for part, state in before.items():
        assert state.keys() == after[part].keys(), part
        for name, tensor in state.items():
            assert torch.equal(tensor, after[part][name]), (part, name)


def test_the_statistics_folded_into_the_vae_are_exact(base: Path, file: Path) -> None:
    """By the formula, in double precision: z = (raw - mean) / std, and 0.13025 outside."""
    tensors = {name: t.double() for name, t in load_file(file).items()}
    plain = {name: t.double() for name, t in load_vae(base).state_dict().items()}
    mean = torch.tensor(SCALING.mean, dtype=torch.float64)
    std = torch.tensor(SCALING.std, dtype=torch.float64)
    weight = plain["post_quant_conv.weight"] * (FACTOR * std)[None, :, None, None]
    bias = plain["post_quant_conv.bias"] + plain["post_quant_conv.weight"][:, :, 0, 0] @ mean
    folded = {"post_quant_conv.weight": weight, "post_quant_conv.bias": bias}
    channels = len(std)
    weight, bias = plain["quant_conv.weight"].clone(), plain["quant_conv.bias"].clone()
    weight[:channels] /= (FACTOR * std)[:, None, None, None]
    bias[:channels] = (bias[:channels] - mean) / (FACTOR * std)
    bias[channels:] -= 2 * (FACTOR * std).log()
    folded |= {"quant_conv.weight": weight, "quant_conv.bias": bias}
    for name, expected in folded.items():
        found = tensors[f"first_stage_model.{name}"]
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max(), name


def test_the_folder_is_sampled_and_exported_as_the_first_one(
    checkpoint: Path, file: Path, back: Path, tmp_path: Path
) -> None:
    assert load_checkpoint_info(back).noise == NOISE
    assert torch.equal(draw(load_pipeline(back)), draw(load_pipeline(checkpoint)))
    export_single_file(back, tmp_path / "again.safetensors", precision="fp32")
    first, again = load_file(file), load_file(tmp_path / "again.safetensors")
    assert first.keys() == again.keys()
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
