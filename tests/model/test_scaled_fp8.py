"""Eight bits with a scale: what is written, what is read of it, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.model.test_checkpoint import draw

from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.model.sdxl.ldm_layout import unet_names
from nadir.model.sdxl.networks import load_unet
from nadir.model.single_file.description import describe
from nadir.model.single_file.reading import load_single_file
from nadir.model.single_file.scaled_fp8 import scaled_linear_layers
from nadir.model.single_file.writing import export_single_file

UNET = "model.diffusion_model."
FP8 = torch.float8_e4m3fn


@pytest.fixture(scope="module")
def file(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("fp8") / "nadir.safetensors"
    export_single_file(checkpoint, file, precision="fp8")
    return file


def test_only_the_unets_linear_layers_have_eight_bits_and_each_a_scale(
    checkpoint: Path, file: Path
) -> None:
    tensors = load_file(file)
    unet = load_unet(checkpoint)
    names = unet_names(unet.state_dict(), unet.config)
    linear = {
        names[f"{name}.weight"]
        for name, module in unet.named_modules()
        if isinstance(module, torch.nn.Linear)
    }
    marks = {"v_pred", "ztsnr", f"{UNET}scaled_fp8"}
    assert {n for n, t in tensors.items() if t.dtype == FP8} == linear | {f"{UNET}scaled_fp8"}
    scales = {name.removesuffix(".weight") + ".scale_weight" for name in linear}
    assert {n for n in tensors if n.endswith(".scale_weight")} == scales
    assert {(tensors[n].dtype, tensors[n].shape) for n in scales} == {(torch.float32, ())}
    rest = tensors.keys() - linear - scales - marks
    assert {tensors[name].dtype for name in rest} == {torch.float16}
    # ComfyUI multiplies in full precision where the mark has two elements.
    assert tensors[f"{UNET}scaled_fp8"].numel() == 2


def test_what_is_read_back_is_the_stored_weight_times_its_scale(
    checkpoint: Path, file: Path
) -> None:
    tensors, before = load_file(file), load_unet(checkpoint).state_dict()
    unet = load_single_file(file).unet
    names = unet_names(before, unet.config)
    for name, tensor in unet.state_dict().items():
        stored = tensors[names[name]]
        if stored.dtype == FP8:
            scale = tensors[names[name].removesuffix(".weight") + ".scale_weight"]
            assert torch.equal(tensor, stored.float() * scale), name
            assert torch.equal(stored.float().abs().max(), torch.tensor(448.0)), name
            # Three bits behind the point: half a step is a sixteenth of a weight, or of the
            # smallest normal one.
            half = before[name].half().float()
            bound = half.abs().clamp(min=scale * 2**-6) / 16 * 1.001
            assert bool(((tensor - half).abs() <= bound).all()), name
        else:
            assert torch.equal(tensor, before[name].half()), name
    assert load_checkpoint_info(file).noise == load_checkpoint_info(checkpoint).noise


def test_pictures_are_near_those_of_half_precision(
    checkpoint: Path, file: Path, tmp_path: Path
) -> None:
    export_single_file(checkpoint, tmp_path / "half.safetensors", precision="fp16")
    plain, half, eight = (
        draw(load_pipeline(model)) for model in (checkpoint, tmp_path / "half.safetensors", file)
    )
    assert 0 < (eight - plain).abs().mean() < 0.02
    assert (half - plain).abs().mean() < (eight - plain).abs().mean()


def test_a_program_that_knows_no_scales_is_said_to_read_other_weights(file: Path) -> None:
    found = describe(file)
    assert found.noise is not None
    right = {t.program for t in found.treatments if t.is_right(found.noise)}
    assert right == {"ComfyUI", "SwarmUI"}
    others = [t for t in found.treatments if t.program not in right]
    assert {(t.prediction, t.remedy) for t in others} == {
        ("wrong weights", "use the model's fp16 file")
    }


def test_weights_of_zero_and_of_one_size_are_kept() -> None:
    name = f"{UNET}middle_block.1.proj_in"
    for value in (0.0, -3e-6, 6e4):
        weight = torch.full((3, 5), value)
        found = scaled_linear_layers({f"{name}.weight": weight})
        read = found[f"{name}.weight"].float() * found[f"{name}.scale_weight"]
        torch.testing.assert_close(read, weight, rtol=1e-6, atol=0)


def test_every_tensor_lies_where_a_reader_may_take_it_in_place(file: Path) -> None:
    data = file.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    widths = {"F8_E4M3": 1, "F16": 2, "F32": 4}
    entries = [entry for name, entry in header.items() if name != "__metadata__"]
    assert {entry["dtype"] for entry in entries} == set(widths)
    assert all(entry["data_offsets"][0] % widths[entry["dtype"]] == 0 for entry in entries)
