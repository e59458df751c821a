"""Sampling with a denoiser that is known in closed form."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.diffusion.prediction import to_epsilon, to_v

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.diffusion.samplers import Sampler


def gaussian_x0(
    z: torch.Tensor, sigma: float, mean: float = -1.0, spread: float = 0.5
) -> torch.Tensor:
    """E[x0 | z] for data N(mean, spread^2), from z in VP scale; the mean itself at infinity."""
    if sigma == float("inf"):
        return torch.full_like(z, mean)
    y = z * (1 + sigma**2) ** 0.5
    return (spread**2 * y + sigma**2 * mean) / (spread**2 + sigma**2)


def sigma_of_evaluation(sampler: Sampler, evaluation: int) -> float:
    """Sigma that an evaluation of the network is made at."""
    return float(sampler.sigmas[(evaluation + sampler.order - 1) // sampler.order])


def sample(
    sampler: Sampler,
    z: torch.Tensor,
    denoiser: Callable[[torch.Tensor, float], torch.Tensor] = gaussian_x0,
    *,
    evaluations: int | None = None,
    **extra: object,
) -> torch.Tensor:
    """Run a sampler that has its timesteps set, as a diffusers pipeline would."""
    for i, t in enumerate(sampler.timesteps[:evaluations]):
        sigma = sigma_of_evaluation(sampler, i)
        x0 = denoiser(z, sigma)
        abar = torch.tensor(1 / (1 + sigma**2), dtype=torch.float64)
        output = x0
        if sampler.prediction == "v":
            output = to_v("x0", x0, z, abar)
        if sampler.prediction == "epsilon":
            output = to_epsilon("x0", x0, z, abar)
        z = sampler.step(output, t, sampler.scale_model_input(z, t), **extra, return_dict=False)[0]
    return z
