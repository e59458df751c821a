"""Trains the tiny model's VAE on drawn pictures."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL

from nadir.model.muon import MuonAdamW
from nadir.model.tiny.textures import texture_batches

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from nadir.config.base_model import TinyParams

LATENT_CHANNELS = 4
_KL_WEIGHT = 1e-6
_PICTURE_WEIGHT = 2.0
_EDGE_WEIGHT = 0.5
_ABSOLUTE_WEIGHT = 0.5
_SQUARE_WEIGHT = 6.0
_FIRST_LOG_VARIANCE = -6.0
_WARMUP_SHARE = 0.05
_MEASURED_BATCHES = 16
_GROUPS = 4  # few, since normalising small groups wipes out the absolute brightness


def build_vae(params: TinyParams) -> AutoencoderKL:
    """An untrained AutoencoderKL of SDXL's architecture, 4 latent channels.

    It draws its weights from torch's global generator.
    """
    levels = len(params.vae_channels)
    vae = AutoencoderKL(
        block_out_channels=list(params.vae_channels),
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=1,
        latent_channels=LATENT_CHANNELS,
        norm_num_groups=_GROUPS,
        sample_size=params.vae_image_px,
        scaling_factor=1.0,
        force_upcast=False,
    )
    with torch.no_grad():
        # Posteriors start narrow; from the default unit width, noise drowns the first pictures.
        vae.quant_conv.bias[LATENT_CHANNELS:] = _FIRST_LOG_VARIANCE
    return vae


def train_vae(
    vae: AutoencoderKL, params: TinyParams, *, on_step: Callable[[str], None] | None = None
) -> None:
    """Train in place, then set the configured scaling factor to 1 / std of the latents.

    The loss is the mean absolute and squared error of pixels, the mean absolute error of their
    differences along both axes, a slight pull of the posterior to the standard normal, and a pull
    of three latent channels to the shrunk picture. The learning rate warms up and falls to zero as
    a cosine.

    Args:
        vae: What `build_vae` made.
        params: Steps, batch size, learning rate, picture size and seed.
        on_step: Called after each step with a note on the loss.
    """
    optimizer = MuonAdamW(
        vae.parameters(), lr=params.vae_learning_rate, betas=(0.9, 0.95), weight_decay=0.0
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, _learning_rate_shape(params.vae_steps))
    generator = torch.Generator().manual_seed(params.seed)
    vae.train()
    batches = texture_batches(
        params.seed, params.vae_image_px, params.vae_batch_size, params.vae_steps
    )
    for pixels in batches:
        loss = _loss(vae, _to_tensor(pixels), generator)
        vae.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if on_step is not None:
            on_step(f"loss {loss.item():.4f}")
    vae.eval()
    vae.register_to_config(scaling_factor=_scaling_factor(vae, params))


def _learning_rate_shape(steps: int) -> Callable[[int], float]:
    warmup = max(1, int(steps * _WARMUP_SHARE))

    def shape(step: int) -> float:
        rise = min(1.0, (step + 1) / warmup)
        return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, step / steps)))

    return shape


def _loss(
    vae: AutoencoderKL, pixels_BCHW: torch.Tensor, generator: torch.Generator
) -> torch.Tensor:
    posterior = vae.encode(pixels_BCHW).latent_dist
    output_BCHW = vae.decode(posterior.sample(generator=generator)).sample
    error_BCHW = output_BCHW - pixels_BCHW
    edges = error_BCHW.diff(dim=2).abs().mean() + error_BCHW.diff(dim=3).abs().mean()
    absolute, square = error_BCHW.abs().mean(), error_BCHW.square().mean()
    loss: torch.Tensor = (
        _ABSOLUTE_WEIGHT * absolute
        + _SQUARE_WEIGHT * square
        + _EDGE_WEIGHT * edges
        + _KL_WEIGHT * posterior.kl().mean()
        + _PICTURE_WEIGHT * _distance_to_picture(posterior.mean, pixels_BCHW)
    )
    return loss


def _distance_to_picture(latents_BCHW: torch.Tensor, pixels_BCHW: torch.Tensor) -> torch.Tensor:
    """Mean squared difference of the first three latent channels and the shrunk picture.

    Left free, the latents of neighbouring places have little in common, which a U-Net must learn
    first; held near the picture they are smooth where it is.
    """
    factor = pixels_BCHW.shape[-1] // latents_BCHW.shape[-1]
    small_BCHW = torch.nn.functional.avg_pool2d(pixels_BCHW, factor)
    return (latents_BCHW[:, : small_BCHW.shape[1]] - small_BCHW).square().mean()


def _to_tensor(pixels_BHWC: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels_BHWC).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@torch.no_grad()
def _scaling_factor(vae: AutoencoderKL, params: TinyParams) -> float:
    """1 / std of the latents of pictures that were not trained on, like SDXL's 0.13025."""
    batches = texture_batches(
        params.seed + 1, params.vae_image_px, params.vae_batch_size, _MEASURED_BATCHES
    )
    means = [vae.encode(_to_tensor(pixels)).latent_dist.mean for pixels in batches]
    return round(1.0 / float(torch.cat(means).double().std()), 5)
