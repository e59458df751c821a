"""Latents to pictures: decoded in float, so that what is broken is seen before it is rounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from nadir.diffusion.sdxl import SIDE_PX, VAE_FACTOR
from nadir.model.sdxl.scaling import LatentScaling

if TYPE_CHECKING:
    from diffusers import AutoencoderKL, StableDiffusionXLPipeline
    from numpy.typing import NDArray

_DECODE_LATENT_AREA = (SIDE_PX // VAE_FACTOR) ** 2


@torch.no_grad()
def decode(pipeline: StableDiffusionXLPipeline, latents_NCHW: torch.Tensor) -> torch.Tensor:
    """The U-Net's latents as RGB [N, 3, H, W], float32 on the CPU, about 0-1 and not clamped.

    Decoded a few at a time, because a decoder needs far more memory than a U-Net.
    """
    return decode_by(pipeline.vae, latents_NCHW)


@torch.no_grad()
def decode_by(vae: AutoencoderKL, latents_NCHW: torch.Tensor) -> torch.Tensor:
    """The same by a VAE alone, whose configuration says how the latents are scaled."""
    raw_NCHW = LatentScaling.from_vae_config(vae.config).denormalise(latents_NCHW.float())
    parts = torch.split(raw_NCHW.to(vae.device, vae.dtype), _decode_batch(raw_NCHW))
    pixels_NCHW = torch.cat([vae.decode(part).sample.float().cpu() for part in parts])
    return (pixels_NCHW + 1) / 2


def pixel_array(pixels_CHW: torch.Tensor) -> NDArray[np.float32]:
    """Decoder output as an array in 0-1; non-finite values become 0."""
    array: NDArray[np.float32] = pixels_CHW.nan_to_num(0.0, 0.0, 0.0).clamp(0, 1).numpy()
    return array


def to_image(pixels_CHW: NDArray[np.float32]) -> Image.Image:
    """RGB values in 0-1 as an 8-bit picture, rounded to the nearest level."""
    levels = np.round(pixels_CHW.transpose(1, 2, 0) * 255).astype(np.uint8)
    return Image.fromarray(levels)


def _decode_batch(latents_NCHW: torch.Tensor) -> int:
    """Images that the decoder takes at once: their latents together are one of 1024 px's."""
    return max(_DECODE_LATENT_AREA // (latents_NCHW.shape[2] * latents_NCHW.shape[3]), 1)
