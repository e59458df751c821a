"""Images to latents and back, without any scaling of the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import AutoencoderKL

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def images_to_tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """RGB images of one size as float32 [B, 3, H, W] in [-1, 1]."""
    pixels_BHWC = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def tensor_to_images(pixels_BCHW: torch.Tensor) -> list[Image.Image]:
    """[B, 3, H, W] in [-1, 1] as 8-bit RGB images, rounded to the nearest level."""
    levels = ((pixels_BCHW.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(level) for level in levels.permute(0, 2, 3, 1).cpu().numpy()]


@torch.no_grad()
def encode_images(vae: AutoencoderKL, images: Sequence[Image.Image]) -> torch.Tensor:
    """The VAE's posterior mean, as the encoder gives it (no scaling factor).

    Args:
        vae: On any device, in any precision.
        images: RGB images of one size, sides a multiple of the VAE's factor.

    Returns:
        float32 `latents_NCHW` on the CPU.
    """
    pixels_BCHW = images_to_tensor(images).to(device=vae.device, dtype=vae.dtype)
    mean_NCHW: torch.Tensor = vae.encode(pixels_BCHW).latent_dist.mean
    return mean_NCHW.float().cpu()


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents_NCHW: torch.Tensor) -> list[Image.Image]:
    """Unscaled latents to RGB images.

    Args:
        vae: On any device, in any precision.
        latents_NCHW: What `encode_images` gives, or normalised latents made raw again.
    """
    latents_NCHW = latents_NCHW.to(device=vae.device, dtype=vae.dtype)
    return tensor_to_images(vae.decode(latents_NCHW).sample)
