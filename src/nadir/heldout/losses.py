"""Errors on held-out images with fixed noise, at several noise levels.

Nothing is drawn and no weights are needed. The error is always that of the clean latent (x0), so
checkpoints with different predictions can be compared, as v-losses and epsilon-losses cannot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nadir.diffusion.prediction import add_noise, to_x0
from nadir.sampling.generate import start_noise

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.model.sdxl.calling import UNet

LEVELS = 9


@dataclass(frozen=True)
class HeldOut:
    """Held-out samples of one shape, ready for the U-Net.

    Attributes:
        ids: sha256 of each image.
        latents_BCHW: Clean latents, normalised.
        hidden_BSD: Text states of the captions.
        pooled_BP: Pooled text vectors.
        time_ids_B6: Micro-conditioning.
    """

    ids: Sequence[str]
    latents_BCHW: torch.Tensor
    hidden_BSD: torch.Tensor
    pooled_BP: torch.Tensor
    time_ids_B6: torch.Tensor


@dataclass(frozen=True)
class LossValue:
    """Error of one image at one timestep.

    Attributes:
        image: sha256.
        timestep: 0 to T - 1, fractional between the table's entries.
        x0_mse: Mean squared error of x0 as the checkpoint declares its output; 1 is what a model
            that knows nothing gets on normalised latents.
        misread_x0_mse: The same output read as the other parameterisation; None where that is
            undefined (epsilon at zero SNR).
    """

    image: str
    timestep: float
    x0_mse: float
    misread_x0_mse: float | None


def loss_timesteps(schedule: NoiseSchedule) -> list[int]:
    """LEVELS timesteps from the last one (pure noise) downwards in equal steps, never 0."""
    last = schedule.num_timesteps - 1
    return [round(last * (LEVELS - index) / LEVELS) for index in range(LEVELS)]


@torch.no_grad()
def loss_values(
    unet: UNet,
    samples: HeldOut,
    schedule: NoiseSchedule,
    prediction: str,
    timesteps: Sequence[float] | None = None,
    *,
    noise: int = 0,
    unit_C: torch.Tensor | None = None,
    at_once: int = 0,
) -> Iterator[LossValue]:
    """Errors of the samples at several noise levels; noise depends on the image and `noise` alone.

    Args:
        unet: The network.
        samples: Images of one shape.
        schedule: What they are noised by.
        prediction: What the network puts out.
        timesteps: Whole or fractional; `loss_timesteps` when None.
        noise: Which noise each image gets.
        unit_C: Factor that turns each channel of normalised latents into the unit of errors.
        at_once: Most inputs of one call of the network, if that is more than the samples: few
            images at several noise levels together cost less than level by level.
    """
    device = samples.latents_BCHW.device
    clean_BCHW = samples.latents_BCHW
    _, channels, height, width = clean_BCHW.shape
    shape = (channels, height, width)
    noise_BCHW = torch.stack([start_noise(name, noise, shape) for name in samples.ids]).to(device)
    levels = list(loss_timesteps(schedule) if timesteps is None else timesteps)
    many = max(at_once // len(clean_BCHW), 1)
    for start in range(0, len(levels), many):
        part = levels[start : start + many]
        alphas = [_alphas_cumprod(schedule, timestep).expand(len(clean_BCHW)) for timestep in part]
        noisy = [add_noise(clean_BCHW, noise_BCHW, alphas_B) for alphas_B in alphas]
        outputs = _outputs(unet, samples, part, noisy)
        for timestep, alphas_B, noisy_BCHW, output_BCHW in zip(
            part, alphas, noisy, outputs, strict=True
        ):
            pair = (output_BCHW, noisy_BCHW, clean_BCHW, alphas_B, unit_C)
            other = "epsilon" if prediction != "epsilon" else "v"
            undefined = other == "epsilon" and bool(alphas_B[0] == 0)
            misread_B = None if undefined else _x0_mse(other, *pair)
            for index, error in enumerate(_x0_mse(prediction, *pair)):
                misread = None if misread_B is None else misread_B[index]
                yield LossValue(samples.ids[index], timestep, error, misread)


def _outputs(
    unet: UNet, samples: HeldOut, timesteps: Sequence[float], noisy: Sequence[torch.Tensor]
) -> Sequence[torch.Tensor]:
    """What the network makes of the samples at each timestep, in one call."""
    count, times = len(samples.ids), len(timesteps)
    device = samples.latents_BCHW.device
    timesteps_N = torch.cat([torch.full((count,), one, device=device) for one in timesteps])
    output_NCHW = unet(
        torch.cat(list(noisy)),
        timesteps_N,
        samples.hidden_BSD.repeat(times, 1, 1),
        samples.pooled_BP.repeat(times, 1),
        samples.time_ids_B6.repeat(times, 1),
    )
    return torch.split(output_NCHW, count)


def _alphas_cumprod(schedule: NoiseSchedule, timestep: float) -> torch.Tensor:
    """Scalar float64; the table's own entry at a whole timestep."""
    if timestep == int(timestep):
        return schedule.alphas_cumprod[int(timestep)]
    return 1 / (1 + schedule.sigma(timestep) ** 2)


def _x0_mse(
    prediction: str,
    output_BCHW: torch.Tensor,
    noisy_BCHW: torch.Tensor,
    clean_BCHW: torch.Tensor,
    alphas_B: torch.Tensor,
    unit_C: torch.Tensor | None,
) -> list[float]:
    x0_BCHW = to_x0(prediction, output_BCHW.float(), noisy_BCHW.float(), alphas_B)
    away_BCHW = x0_BCHW - clean_BCHW.float()
    if unit_C is not None:
        away_BCHW = away_BCHW * unit_C[:, None, None]
    error_B: list[float] = away_BCHW.square().mean(dim=(1, 2, 3)).tolist()
    return error_B
