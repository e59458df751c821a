"""The smallest SDXL with a U-Net that answers: layers that start at zero have weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.support.small_checkpoint import awaken
from tests.support.training_project import make_base

from nadir.model.checkpoint.portable import make_portable
from nadir.model.sdxl.networks import load_text, load_unet


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose gradients reach every layer."""
    folder = make_base(tmp_path_factory.mktemp("awake") / "base")
    unet, text = load_unet(folder), load_text(folder)
    awaken(unet)
    awaken(text.text_encoder)
    awaken(text.text_encoder_2)
    torch.manual_seed(0)
    for encoder in (text.text_encoder, text.text_encoder_2):
        for parameter in encoder.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    unet.save_pretrained(folder / "unet")
    text.text_encoder.save_pretrained(folder / "text_encoder")
    text.text_encoder_2.save_pretrained(folder / "text_encoder_2")
    make_portable(folder)
    return folder
