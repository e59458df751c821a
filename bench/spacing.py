"""What the three timestep spacings cost in accuracy, at equal numbers of steps from infinity.

One dimension, float64, 64 starts at the quantiles of the starting noise; the exact end of a
trajectory is the same quantile of the data. "Mixture" is three Gaussians (deviation 1.1 in all):
root-mean-square error of the end, in units of that deviation. "Detail" is a Gaussian of small
deviation: the share of it that the picture keeps, 1 is right; below 1 is blur.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from bench.results import table, write
from bench.sampler_order import MEANS, SPREADS, WEIGHTS, denoise, exact
from torch import Tensor

from nadir.diffusion.names import SPACINGS
from nadir.diffusion.prediction import to_v
from nadir.diffusion.samplers import make_sampler
from nadir.diffusion.schedule import NoiseSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

COUNTS = (20, 25, 28, 50)
DETAILS = (0.3, 0.1, 0.03)
SCHEDULE = NoiseSchedule.scaled_linear().zero_terminal()
MEAN = float((WEIGHTS * MEANS).sum())
DEVIATION = float(((WEIGHTS * (SPREADS**2 + MEANS**2)).sum() - MEAN**2).sqrt())
STARTS = torch.special.ndtri((torch.arange(64, dtype=torch.float64) + 0.5) / 64)


def mixture_x0(z: Tensor, sigma: float) -> Tensor:
    """E[x0 | z] of the mixture, z in VP scale; its mean at infinity."""
    if math.isinf(sigma):
        return torch.full_like(z, MEAN)
    return denoise(z * math.hypot(1, sigma), sigma)


def detail_x0(spread: float) -> Callable[[Tensor, float], Tensor]:
    """E[x0 | z] of a Gaussian around 0."""

    def denoiser(z: Tensor, sigma: float) -> Tensor:
        if math.isinf(sigma):
            return torch.zeros_like(z)
        return spread**2 / (spread**2 + sigma**2) * math.hypot(1, sigma) * z

    return denoiser


def end_of_run(
    name: str, spacing: str, steps: int, denoiser: Callable[[Tensor, float], Tensor]
) -> Tensor:
    """Where a whole run from infinity takes the starts."""
    sampler = make_sampler(SCHEDULE, prediction="v", name=name, spacing=spacing)
    sampler.set_timesteps(steps)
    z = STARTS.clone()
    for i, t in enumerate(sampler.timesteps):
        sigma = float(sampler.sigmas[(i + sampler.order - 1) // sampler.order])
        abar = torch.tensor(1 / (1 + sigma**2), dtype=torch.float64)
        output = to_v("x0", denoiser(z, sigma), z, abar)
        z = sampler.step(output, t, z, return_dict=False)[0]
    return z


def cell(name: str, spacing: str, steps: int) -> str:
    """Error on the mixture, and the share of each detail that is kept."""
    # From so high a sigma the data's own width no longer shows: y / sigma is the start.
    wanted = exact(STARTS * 1e7, 1e7, 1e-9)
    off = end_of_run(name, spacing, steps, mixture_x0) - wanted
    error = float(off.square().mean().sqrt()) / DEVIATION
    kept = [
        float(end_of_run(name, spacing, steps, detail_x0(spread)).std() / STARTS.std()) / spread
        for spread in DETAILS
    ]
    return f"{error:.3f}; " + ", ".join(f"{share:.2f}" for share in kept)


def main() -> None:
    """Measure the deterministic samplers."""
    torch.set_num_threads(1)
    rows = [
        [f"{name}, {spacing}", *(cell(name, spacing, steps) for steps in COUNTS)]
        for name in ("euler", "dpmpp_2m", "heun")
        for spacing in SPACINGS
    ]
    text = __doc__.split("\n\n", 1)[1].strip() if __doc__ else ""
    details = ", ".join(f"{spread:g}" for spread in DETAILS)
    note = f"A cell is the error on the mixture; and the kept share of details of {details}."
    header = ["sampler, spacing", *(f"{steps} steps" for steps in COUNTS)]
    write("spacing", "Timestep spacing", f"{text}\n\n{note}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main()
