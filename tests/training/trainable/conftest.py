"""The smallest SDXL with a U-Net that answers: layers that start at zero have weights."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.small_checkpoint import awaken
from tests.support.training_project import make_base

from nadir.model.sdxl.networks import load_unet


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A base whose gradients reach every layer."""
    folder = make_base(tmp_path_factory.mktemp("awake") / "base")
    unet = load_unet(folder)
    awaken(unet)
    unet.save_pretrained(folder / "unet")
    return folder
