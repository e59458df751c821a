"""`latent_statistics`: mean and standard deviation of the latents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nadir.config.base import Section


class LatentStatisticsParams(Section):
    """Per-channel mean and standard deviation of the latents (paper App. B)."""

    split: Literal["train", "all"]
    """Which images count."""
    sample_images: Annotated[int, Field(ge=2)] | None
    """Measure this many images, drawn by their hash, and state the standard error; null: all."""
