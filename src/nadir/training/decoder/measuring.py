"""What a VAE makes of held-out images: the grid in its pictures, and how near they are."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nadir.model.sdxl.autoencoder import encode_images, images_to_tensor
from nadir.training.decoder.blockiness import Blockiness

if TYPE_CHECKING:
    from collections.abc import Iterable

    from diffusers import AutoencoderKL
    from PIL import Image

_LEAST_ERROR = 1e-12


@dataclass(frozen=True)
class Reconstruction:
    """Of some images.

    Attributes:
        images: How many.
        blockiness: Of the decoded pictures, see `nadir.training.decoder.blockiness`.
        of_images: Of the images themselves.
        psnr_db: Peak signal-to-noise ratio of decoded pictures, mean over images, in decibels.
    """

    images: int
    blockiness: float
    of_images: float
    psnr_db: float


@torch.no_grad()
def reconstruct(vae: AutoencoderKL, images: Iterable[Image.Image]) -> Reconstruction | None:
    """Encode and decode images one by one, so that memory is that of one.

    Args:
        vae: On its device.
        images: RGB, sides multiples of the VAE's factor.

    Returns:
        None without images.
    """
    drawn, real = Blockiness(), Blockiness()
    ratios: list[float] = []
    for image in images:
        latents_NCHW = encode_images(vae, [image]).to(vae.device, vae.dtype)
        decoded_NCHW = (vae.decode(latents_NCHW).sample.float().cpu().clamp(-1, 1) + 1) / 2
        pixels_NCHW = (images_to_tensor([image]) + 1) / 2
        drawn.add(decoded_NCHW)
        real.add(pixels_NCHW)
        error = (decoded_NCHW - pixels_NCHW).double().square().mean().clamp(min=_LEAST_ERROR)
        ratios.append(float(-10 * error.log10()))
    if not ratios:
        return None
    return Reconstruction(len(ratios), drawn.value, real.value, statistics.mean(ratios))
