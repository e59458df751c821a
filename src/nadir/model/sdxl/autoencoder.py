"""Images to latents and back, without any scaling of the latents."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Sequence

    from diffusers import AutoencoderKL

    from nadir.config.encode import TilingParams

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def images_to_tensor(images: Sequence[Image.Image]) -> torch.Tensor:
    """RGB images of one size as float32 [B, 3, H, W] in [-1, 1]."""
    pixels_BHWC = np.stack([np.asarray(image.convert("RGB")) for image in images])
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 127.5 - 1.0


def tensor_to_images(pixels_BCHW: torch.Tensor) -> list[Image.Image]:
    """[B, 3, H, W] in [-1, 1] as 8-bit RGB images, rounded to the nearest level."""
    levels = ((pixels_BCHW.float() + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(level) for level in levels.permute(0, 2, 3, 1).cpu().numpy()]


def pixel_factor(vae: AutoencoderKL) -> int:
    """Pixels along one pixel of the latent."""
    return int(2 ** (len(vae.config.block_out_channels) - 1))


@torch.no_grad()
def encode_images(
    vae: AutoencoderKL, images: Sequence[Image.Image], tiling: TilingParams | None = None
) -> torch.Tensor:
    """The VAE's posterior mean, as the encoder gives it (no scaling factor).

    Args:
        vae: On any device, in any precision.
        images: RGB images of one size, sides a multiple of the VAE's factor.
        tiling: Encode in tiles of this form when given; see `encode_tiled`.

    Returns:
        float32 `latents_NCHW` on the CPU.
    """
    pixels_BCHW = images_to_tensor(images).to(device=vae.device, dtype=vae.dtype)
    if tiling is not None:
        return encode_tiled(vae, pixels_BCHW, tiling).cpu()
    return _posterior_mean(vae, pixels_BCHW).float().cpu()


@torch.no_grad()
def encode_tiled(
    vae: AutoencoderKL, pixels_BCHW: torch.Tensor, tiling: TilingParams
) -> torch.Tensor:
    """Posterior mean of large images, one tile at a time.

    All tiles have one shape and lie evenly spread; where they overlap, their latents are averaged
    with weights that fall linearly towards each tile's edge. The encoder's GroupNorm and attention
    see a tile instead of the image, so the result differs a little from the whole image's
    everywhere, not only at seams (docs/data.md).

    Args:
        vae: On the device of the pixels.
        pixels_BCHW: In [-1, 1], sides a multiple of the VAE's factor.
        tiling: Side of a tile and least overlap; `above_px` is the caller's concern.

    Returns:
        float32 `latents_NCHW` on the same device.
    """
    factor = pixel_factor(vae)
    batch, _, height, width = pixels_BCHW.shape
    tile_h, tile_w = min(tiling.tile_px, height), min(tiling.tile_px, width)
    weight_hw = _tent(tile_h // factor)[:, None] * _tent(tile_w // factor)
    weight_hw = weight_hw.to(pixels_BCHW.device)
    shape = (height // factor, width // factor)
    total_NCHW = torch.zeros(batch, vae.config.latent_channels, *shape, device=weight_hw.device)
    weights_HW = torch.zeros(shape, device=weight_hw.device)
    for top in _tile_starts(height // factor, tile_h // factor, tiling.overlap_px // factor):
        for left in _tile_starts(width // factor, tile_w // factor, tiling.overlap_px // factor):
            y, x = top * factor, left * factor
            tile_BCHW = pixels_BCHW[:, :, y : y + tile_h, x : x + tile_w].contiguous()
            rows = slice(top, top + tile_h // factor)
            columns = slice(left, left + tile_w // factor)
            mean_NChw = _posterior_mean(vae, tile_BCHW).float()
            total_NCHW[:, :, rows, columns] += mean_NChw * weight_hw
            weights_HW[rows, columns] += weight_hw
    return total_NCHW / weights_HW


def _posterior_mean(vae: AutoencoderKL, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    mean_NCHW: torch.Tensor = vae.encode(pixels_BCHW).latent_dist.mean
    return mean_NCHW


def _tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """First index of each tile: as few as cover `length`, evenly spread, the last one flush."""
    if tile >= length:
        return [0]
    gaps = -(-(length - tile) // (tile - overlap))
    return [(length - tile) * number // gaps for number in range(gaps + 1)]


def _tent(length: int) -> torch.Tensor:
    """Weights that rise from the edges to the middle, never zero."""
    place = torch.arange(length)
    return torch.minimum(place + 1, length - place).float()


@torch.no_grad()
def decode_latents(vae: AutoencoderKL, latents_NCHW: torch.Tensor) -> list[Image.Image]:
    """Unscaled latents to RGB images.

    Args:
        vae: On any device, in any precision.
        latents_NCHW: What `encode_images` gives, or normalised latents made raw again.
    """
    latents_NCHW = latents_NCHW.to(device=vae.device, dtype=vae.dtype)
    return tensor_to_images(vae.decode(latents_NCHW).sample)
