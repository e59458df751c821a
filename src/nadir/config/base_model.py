"""`base_model`: the SDXL that training starts from."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nadir.config.base import Section
from nadir.diffusion.sdxl import VAE_FACTOR

Channels = Annotated[tuple[int, ...], Field(min_length=1)]


class TinyParams(Section):
    """Sizes of the tiny SDXL that is made from scratch when `source` is `tiny`."""

    seed: int
    """Seed of all weights and of the VAE's training images."""
    vae_channels: Channels
    """Channels per VAE level; the VAE shrinks by 2^(levels - 1)."""
    vae_steps: Annotated[int, Field(ge=1)]
    """Optimizer steps of the VAE's training on drawn images and textures."""
    vae_batch_size: Annotated[int, Field(ge=1)]
    """Images per VAE step."""
    vae_learning_rate: Annotated[float, Field(gt=0)]
    """Peak learning rate of the VAE (Muon)."""
    vae_image_px: Annotated[int, Field(ge=2 * VAE_FACTOR, multiple_of=VAE_FACTOR)]
    """Side of the VAE's square training images."""
    unet_channels: Channels
    """Channels per U-Net level."""
    unet_layers_per_block: Annotated[int, Field(ge=1)]
    """ResNet blocks per U-Net level."""
    unet_transformer_layers: tuple[int, ...]
    """Transformer blocks per U-Net level; 0 makes a level without attention."""
    attention_head_dim: Annotated[int, Field(ge=4)]
    """Channels per attention head."""
    text_hidden: tuple[int, int]
    """Hidden sizes of the two text encoders; their sum is the cross-attention width."""
    text_layers: Annotated[int, Field(ge=2)]
    """Layers of each text encoder; conditioning uses the last but one."""


class BaseModelParams(Section):
    """Where the base model comes from; it never depends on the dataset."""

    source: Annotated[str, Field(min_length=1)]
    """`tiny`, a diffusers folder, a single `.safetensors` file, or a hub id."""
    revision: str | None
    """Commit of a hub id; null for the other sources."""
    variant: str | None
    """File variant of a hub id or folder, such as `fp16`."""
    tiny: TinyParams
    """Used when `source` is `tiny`."""
