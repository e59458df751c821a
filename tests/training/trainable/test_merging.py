"""A merged U-Net is written weight by weight, and is what a whole second copy would be."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from tests.training.trainable.adapter_cases import KINDS, moved, params_of, weights, write

from nadir.model.sdxl.networks import load_text, load_unet
from nadir.training.optim.weight_average import copy_weights
from nadir.training.trainable import make_trainable


def merged_whole(trainable: object, kind: str, base: Path) -> dict[str, torch.Tensor]:
    """The U-Net's weights of a second copy in float32 that all adapters are merged into."""
    whole = make_trainable(params_of(kind), base)
    copy_weights(dict(trainable.weights()), whole.weights())  # type: ignore[attr-defined]
    found = {}
    for name, module in whole.network.named_modules():
        if hasattr(module, "base_layer") and hasattr(module, "merge"):
            with torch.no_grad():
                module.merge()
            found[f"{name}.weight"] = module.base_layer.weight
    plain = load_unet(base).state_dict()
    return plain | found


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_merge_of_a_second_copy_to_the_bit_and_holds_none(
    kind: str, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The frozen weights in bfloat16: the base's own are merged.
    params = params_of(kind).model_copy(update={"mixed_precision": "bf16"})
    trainable = moved(params, base)
    before = {name: weight.clone() for name, weight in trainable.weights().items()}
    dtypes = {parameter.dtype for parameter in trainable.network.parameters()}
    expected = merged_whole(trainable, kind, base)

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a second U-Net is loaded")

    monkeypatch.setattr(UNet2DConditionModel, "from_pretrained", refuse)
    made = weights(write(trainable, tmp_path / "made", base))["unet"]
    assert made.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(made[name], tensor), name
    # The training may go on.
    assert {parameter.dtype for parameter in trainable.network.parameters()} == dtypes
    assert all(torch.equal(weight, before[n]) for n, weight in trainable.weights().items())


def test_a_base_in_several_files_with_more_in_them_is_read(base: Path, tmp_path: Path) -> None:
    (file,) = (base / "unet").glob("*.safetensors")
    cut = tmp_path / "base"
    shutil.copytree(base, cut)
    (cut / "unet" / file.name).unlink()
    tensors = load_file(file)
    first = dict(list(tensors.items())[:5])
    save_file(first | {"unknown": torch.zeros(3)}, cut / "unet/a.safetensors")
    rest = {name: tensor for name, tensor in tensors.items() if name not in first}
    save_file(rest, cut / "unet/b.safetensors")
    trainable = moved(params_of("lora", text_encoders=False), base)
    whole = weights(write(trainable, tmp_path / "whole", base))["unet"]
    made = weights(write(trainable, tmp_path / "made", cut))["unet"]
    assert made.keys() == whole.keys() == load_unet(base).state_dict().keys()
    assert all(torch.equal(made[name], tensor) for name, tensor in whole.items())


def test_text_encoders_are_merged_in_float32(base: Path, tmp_path: Path) -> None:
    params = params_of("lora").model_copy(update={"mixed_precision": "bf16"})
    trainable = moved(params, base)
    made = weights(write(trainable, tmp_path / "made", base))
    for part, encoder in (
        ("text_encoder", load_text(base).text_encoder),
        ("text_encoder_2", load_text(base).text_encoder_2),
    ):
        changed = 0
        for name, tensor in encoder.state_dict().items():
            found = made[part].get(name)
            found = made[part][f"text_model.{name}"] if found is None else found
            assert found.dtype == torch.float32
            changed += not torch.equal(found, tensor)
        assert changed > 3
