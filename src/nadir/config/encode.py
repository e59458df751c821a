"""`encode`: images to latents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section


class TilingParams(Section):
    """Large canvases are encoded in overlapping tiles, whose latents are blended linearly."""

    above_px: Annotated[int, Field(ge=0)]
    """Canvases with more pixels (width times height) are tiled; 0 tiles none."""
    tile_px: Annotated[int, Field(ge=32, multiple_of=32)]
    """Side of a tile."""
    overlap_px: Annotated[int, Field(ge=0, multiple_of=32)]
    """What neighbouring tiles share at the least; more makes seams smaller."""

    @model_validator(mode="after")
    def _tiles_advance(self) -> TilingParams:
        if 2 * self.overlap_px > self.tile_px:
            msg = "encode.tiling.overlap_px may be half of tile_px at the most"
            raise ValueError(msg)
        return self


class EncodeParams(Section):
    """How images become latents."""

    precision: Literal["fp32", "fp16", "bf16"]
    """Precision of the VAE encoder; SDXL's own VAE overflows in fp16."""
    store: Literal["fp32", "fp16"]
    """Precision of the stored latents."""
    batch_size: Annotated[int, Field(ge=1)]
    """Images per encoder call."""
    shard_bytes: Annotated[int, Field(ge=1 << 16, le=10**9)]
    """Largest size of one shard file, 1 GB at the most; a killed run loses one shard."""
    flip: bool
    """Store a mirrored latent of each image, too; training draws one of both."""
    masks: Literal["files", "alpha", "both"] | None
    """Store masks beside the latents, for `train.masked_loss`: of mask files, of the images' own
    transparency, or of files and, where an image has none, its transparency."""
    tiling: TilingParams
    """Encoding in tiles."""
