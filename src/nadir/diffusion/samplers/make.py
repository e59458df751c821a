"""Samplers by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.diffusion.samplers.ddim import DDIMSampler
from nadir.diffusion.samplers.dpmpp import DPMpp2MSampler, DPMpp2MSDESampler
from nadir.diffusion.samplers.euler import EulerAncestralSampler, EulerSampler
from nadir.diffusion.samplers.heun import HeunSampler
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from nadir.diffusion.samplers.base import Sampler
    from nadir.diffusion.schedule import NoiseSchedule

SAMPLERS: dict[str, type[Sampler]] = {
    kind.name: kind
    for kind in (
        EulerSampler,
        EulerAncestralSampler,
        DDIMSampler,
        DPMpp2MSampler,
        DPMpp2MSDESampler,
        HeunSampler,
    )
}


def make_sampler(
    schedule: NoiseSchedule,
    *,
    prediction: str,
    name: str = "euler",
    spacing: str = "native",
    start_sigma: float | None = None,
) -> Sampler:
    """A sampler for `StableDiffusionXLPipeline(scheduler=...)` on the schedule of a checkpoint.

    Args:
        schedule: The schedule the network was trained on.
        prediction: What the network puts out: `v`, `epsilon` or `x0`.
        name: A key of `SAMPLERS`.
        spacing: `native`, `trailing` or `simple`.
        start_sigma: A finite start instead of the last timestep, for ablations.

    Raises:
        NadirError: Unknown sampler or prediction.
    """
    if name not in SAMPLERS:
        raise NadirError(
            f"{name!r} is not a sampler",
            where="sampler",
            fix=f"use one of {', '.join(SAMPLERS)}",
        )
    return SAMPLERS[name](schedule, prediction=prediction, spacing=spacing, start_sigma=start_sigma)
