"""One small base model and one checkpoint for all tests of the model room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.small_checkpoint import awaken

from nadir.config.base_model import BaseModelParams, TinyParams
from nadir.config.reader import read_section
from nadir.model.load import LatentScaling, save_checkpoint
from nadir.model.sdxl.networks import load_unet
from nadir.model.tiny.networks import make_tiny

SMALL = {
    "vae_channels": (8, 8, 16),
    "vae_steps": 2,
    "vae_batch_size": 2,
    "unet_channels": (16, 32),
    "unet_transformer_layers": (0, 1),
}
NOISE: dict[str, Any] = {
    "prediction": "v",
    "zero_terminal_snr": True,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timesteps": 1000,
    "sigma_shift": 1.0,
}
SCALING = LatentScaling("per_channel", (0.5, -1.2, 0.3, 2.0), (1.5, 0.8, 2.5, 0.4))


@pytest.fixture(scope="session")
def default_tiny() -> TinyParams:
    """`base_model.tiny` of the default params.yaml."""
    params = Path(__file__).parents[2] / "params.yaml"
    return read_section("base_model", BaseModelParams, params).tiny


@pytest.fixture(scope="session")
def small_tiny(default_tiny: TinyParams) -> TinyParams:
    """Fewer channels and an almost untrained VAE."""
    return default_tiny.model_copy(update=SMALL)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory, small_tiny: TinyParams) -> Path:
    """A small base model."""
    folder = tmp_path_factory.mktemp("models") / "base"
    make_tiny(folder, small_tiny)
    return folder


def write_checkpoint(
    folder: Path, base: Path, *, scaling: LatentScaling = SCALING, **noise: Any
) -> Path:
    """A checkpoint in which prompts have an effect."""
    unet = load_unet(base)
    awaken(unet)
    save_checkpoint(
        folder, base=base, unet=unet, noise=NOISE | noise, scaling=scaling, training={"steps": 7}
    )
    return folder


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    """A v-prediction, zero-terminal-SNR checkpoint with per-channel latent scaling."""
    return write_checkpoint(tmp_path_factory.mktemp("models") / "checkpoint", base)
