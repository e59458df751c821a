"""Three bands of sigma: in which errors are told apart, and where held-out images are measured."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from nadir.diffusion.loss_weight import SIGMA_BANDS

if TYPE_CHECKING:
    from nadir.diffusion.schedule import NoiseSchedule

LOW, MID, HIGH = "low_sigma", "mid_sigma", "high_sigma"
BANDS = (LOW, MID, HIGH)

# Up to sigma 1 details are drawn, up to SDXL's last sigma shapes; above it SDXL saw nothing.
_EDGES = {LOW: (0.1, SIGMA_BANDS[0]), MID: SIGMA_BANDS[:2], HIGH: (SIGMA_BANDS[1], SIGMA_BANDS[3])}


def band_timesteps(schedule: NoiseSchedule, levels: int) -> dict[str, list[float]]:
    """Timesteps of each band, whole or fractional, in rising order.

    They belong to sigmas that are the same for every schedule, the middles of `levels` equal parts
    of log sigma, so errors compare across schedules. The last of `high_sigma` is the schedule's own
    last timestep: pure noise with zero terminal SNR. Levels that a schedule does not reach are left
    out; its last timestep stays.

    Args:
        schedule: The training schedule.
        levels: In each band, 1 or more.
    """
    last = float(schedule.num_timesteps - 1)
    sigmas = schedule.sigmas
    found = {}
    for band, (low, high) in _EDGES.items():
        ends_at_last = band == HIGH
        wanted = _middles(low, high, levels - ends_at_last)
        inside = [sigma for sigma in wanted if float(sigmas[0]) <= sigma < float(sigmas[-1])]
        found[band] = [float(schedule.timestep(sigma)) for sigma in inside]
        if ends_at_last:
            found[band].append(last)
    return {band: timesteps for band, timesteps in found.items() if timesteps}


def band_members(schedule: NoiseSchedule) -> torch.Tensor:
    """[T, 3] 1 where a timestep belongs to a band of `BANDS`, else 0; each belongs to one."""
    edges = torch.tensor(SIGMA_BANDS[:2], dtype=schedule.sigmas.dtype)
    place_T = torch.bucketize(schedule.sigmas, edges)
    return torch.nn.functional.one_hot(place_T, len(BANDS)).float()


def _middles(low: float, high: float, parts: int) -> list[float]:
    ratio = high / low
    return [low * math.pow(ratio, (part + 0.5) / parts) for part in range(parts)]
