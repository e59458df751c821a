"""`encode`: images to latents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nadir.config.base import Section


class EncodeParams(Section):
    """How the VAE encoder runs; none of it changes what a latent means."""

    precision: Literal["fp32", "fp16", "bf16"]
    """Precision of the VAE encoder; SDXL's own VAE overflows in fp16."""
    store: Literal["fp32", "fp16"]
    """Precision of the stored latents."""
    batch_size: Annotated[int, Field(ge=1)]
    """Images per encoder call."""
    shard_bytes: Annotated[int, Field(ge=1 << 16, le=1 << 30)]
    """Largest size of one shard file."""


class LatentStatisticsParams(Section):
    """Per-channel mean and standard deviation of the latents (paper App. B)."""

    split: Literal["train", "all"]
    """Which images count."""
