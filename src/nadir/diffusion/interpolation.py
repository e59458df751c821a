"""Sigma at fractional timesteps, and back.

Between whole timesteps sigma is log-linear in t, as in k-diffusion's `DiscreteSchedule`. Towards
an infinite terminal sigma that rule has no answer. There sqrt(alphas_cumprod), the quantity
that the zero-terminal rescale moves linearly, is linear in t: it runs from its last positive
entry to 0. So t(sigma) is continuous, strictly rising and invertible up to infinity, 20000 lies
near the terminal timestep, and only sigma = inf is the terminal timestep itself.
"""

from __future__ import annotations

import torch
from torch import Tensor


def _float64(value: float | Tensor) -> Tensor:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", torch.float64)
    return torch.tensor(value, dtype=torch.float64)


def sigma_at(sigmas_T: Tensor, t: float | Tensor) -> Tensor:
    """Sigma at timestep `t`, any shape, in [0, T - 1]; exact table entries at whole timesteps.

    Args:
        sigmas_T: [T] float64, strictly rising; the last may be `inf`.
        t: Timesteps, whole or fractional.

    Returns:
        float64 tensor of the shape of `t`, on the CPU; `inf` only at an infinite last entry.

    Raises:
        ValueError: A timestep is NaN or outside [0, T - 1].
    """
    t = _float64(t)
    last = len(sigmas_T) - 1
    if not bool(((t >= 0) & (t <= last)).all()):
        raise ValueError(f"timesteps must lie in 0 to {last}")
    low = t.floor().long()
    fraction = t - low
    low_sigma, high_sigma = sigmas_T[low], sigmas_T[(low + 1).clamp(max=last)]
    between = torch.exp((1 - fraction) * low_sigma.log() + fraction * high_sigma.log())
    # alpha = alpha_low * (1 - fraction), written as a sigma
    towards_inf = torch.sqrt((1 + low_sigma**2) / (1 - fraction) ** 2 - 1)
    between = torch.where(high_sigma.isinf(), towards_inf, between)
    return torch.where(fraction == 0, low_sigma, between)


def timestep_at(sigmas_T: Tensor, sigma: float | Tensor) -> Tensor:
    """Timestep of `sigma` >= 0, any shape: the inverse of `sigma_at`, clamped to the table.

    Sigmas below the first entry give 0. Sigmas above a finite last entry give T - 1. With an
    infinite last entry, sigmas above the last finite one lie between T - 2 and T - 1, and `inf`
    is T - 1 exactly.

    Raises:
        ValueError: A sigma is negative or NaN.
    """
    sigma = _float64(sigma)
    if not bool((sigma >= 0).all()):
        raise ValueError("sigmas must be 0 or more")
    last = len(sigmas_T) - 1
    inside = torch.clamp(sigma, min=float(sigmas_T[0]), max=float(sigmas_T[-1]))
    low = (torch.searchsorted(sigmas_T, inside, right=True) - 1).clamp(0, last)
    low_sigma, high_sigma = sigmas_T[low], sigmas_T[(low + 1).clamp(max=last)]
    fraction = (inside.log() - low_sigma.log()) / (high_sigma.log() - low_sigma.log())
    towards_inf = 1 - torch.sqrt((1 + low_sigma**2) / (1 + inside**2))
    fraction = torch.where(high_sigma.isinf(), towards_inf, fraction)
    return low + torch.where(inside == low_sigma, 0.0, fraction)
