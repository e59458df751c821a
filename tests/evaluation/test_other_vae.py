"""Whose latents a model takes is its encoder's matter: its decoder may have been fine-tuned."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tests.support.small_checkpoint import SCALING

from nadir.evaluation.others.model import _same_vae
from nadir.model.load import load_pipeline


@pytest.mark.parametrize(("part", "same"), [("decoder", True), ("encoder", False)])
def test_another_decoder_is_the_same_vae_and_another_encoder_is_not(
    checkpoint: Path, tmp_path: Path, part: str, same: bool
) -> None:
    shutil.copytree(checkpoint.parent / "base/vae", tmp_path / "models/base/vae")
    pipeline = load_pipeline(checkpoint)
    image: Any = SimpleNamespace(latents_CHW=torch.randn(4, 8, 8))
    assert _same_vae(pipeline, SCALING, [image], tmp_path)
    pipeline.vae.decoder.conv_out.bias.data += 0.5  # in either case pictures differ
    if part == "encoder":
        pipeline.vae.encoder.conv_out.bias.data += 0.5
    assert _same_vae(pipeline, SCALING, [image], tmp_path) is same
