"""The same weights in the shapes and under the names that other programs give them."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from tests.model.conftest import NOISE

from nadir.model.load import load_checkpoint_info
from nadir.model.single_file.reading import load_single_file
from nadir.model.single_file.writing import export_single_file

VAE, TEXT = "first_stage_model.", "conditioner.embedders.0.transformer.text_model."


def test_weights_as_other_programs_shape_and_name_them_are_the_same(
    checkpoint: Path, tmp_path: Path
) -> None:
    """ComfyUI's and sd-scripts' own saving, merges, and the suffix `.sft`."""
    file = tmp_path / "ours.safetensors"
    export_single_file(checkpoint, file, precision="fp32")
    tensors = load_file(file)
    with safe_open(file, framework="pt") as opened:
        own = json.loads(opened.metadata()["nadir"])
    linear = {
        name: tensor[:, :, 0, 0].contiguous()
        for name, tensor in tensors.items()
        if name.startswith(VAE) and ".attn_1." in name and tensor.ndim == 4
    }
    assert len(linear) == 8
    kept = {
        f"{TEXT}embeddings.position_ids": torch.arange(77)[None],
        "conditioner.embedders.0.transformer.text_projection.weight": torch.eye(32),
        "conditioner.embedders.0.logit_scale": torch.tensor(4.6),
    }
    marks = {"v_pred": torch.tensor([True]), "ztsnr": torch.ones(1)}
    told = {"nadir": json.dumps({name: own[name] for name in ("configs", "tokenizers")})}
    theirs = tmp_path / "theirs.sft"
    save_file(tensors | linear | kept | marks, theirs, told | {"modelspec.predict_key": "v"})
    assert load_checkpoint_info(theirs).noise == NOISE
    ours, read = load_single_file(file), load_single_file(theirs)
    for part in ("unet", "vae", "text_encoder", "text_encoder_2"):
        other = getattr(read, part).state_dict()
        assert all(torch.equal(t, other[n]) for n, t in getattr(ours, part).state_dict().items())
