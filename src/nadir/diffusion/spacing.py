"""Which timesteps a sampler visits."""

from __future__ import annotations

import math

import torch

from nadir.diffusion.names import SPACINGS
from nadir.ground.errors import NadirError


def spaced_timesteps(first: float, steps: int, spacing: str) -> torch.Tensor:
    """[steps] float64, strictly falling from `first` to 0 or more.

    Args:
        first: First timestep, T - 1 for a full run; may be fractional.
        steps: How many.
        spacing: `native`: evenly from `first` to 0, fractions kept (k-diffusion's linspace);
            `trailing`: whole numbers counted back from the end (Lin et al. 2305.08891 §3.3);
            `simple`: ComfyUI's, the same with floor in place of rounding. From a fractional
            `first` the latter two keep `first` itself and put the rest on their grid of
            `first + 1` timesteps.

    Raises:
        NadirError: Unknown spacing, no step at all, or more steps than timesteps.
    """
    if spacing not in SPACINGS:
        raise NadirError(
            f"{spacing!r} is not a timestep spacing",
            where="spacing",
            fix=f"use one of {', '.join(SPACINGS)}",
        )
    if steps < 1 or steps > first + 1:
        raise NadirError(
            f"{steps} sampling steps cannot be taken from timestep {first:g} down",
            where="steps",
            fix=f"use 1 to {math.floor(first) + 1} steps",
        )
    if spacing == "native":
        return torch.linspace(first, 0, steps, dtype=torch.float64)
    # From `first` down to 0 there are first + 1 timesteps. Step i stands at first - i * stride,
    # rounded: the first step is `first` itself, and the last need not be 0.
    stride = (first + 1) / steps
    index = torch.arange(steps, dtype=torch.float64)
    if spacing == "simple":
        return first - torch.floor(index * stride)
    # rounded as numpy's arange does it, so that ties fall as in the stock schedulers
    delta = (first + 1 - stride) - (first + 1)
    timesteps = torch.round(first + 1 + index * delta) - 1
    timesteps[0] = first
    return timesteps
