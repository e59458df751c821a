"""Which diffusers scheduler draws what Nadir's exact sampler draws: the choice for export.

Data with a known ideal denoiser: latents of 128 x 128 (a canvas of 1024), four channels, whose
mean has the deviation 0.5 around -1 ("black") and whose texture has the deviation 0.5. The
"network" is that denoiser; it knows its input and the timestep it is told, nothing else. Each
scheduler of diffusers runs from `scheduler_config.json` as a pipeline runs it, from the same
noise as Nadir's sampler of the same rule in float64 on the same timesteps. A cell has the
root-mean-square difference of the two pictures and the greatest difference of a channel's mean,
both in units of the picture's deviation.
"""

from __future__ import annotations

from typing import Any

import diffusers
import torch
from bench.results import table, write
from bench.schedulers_against_diffusers import NOISE, SCHEDULE
from torch import Tensor

from nadir.diffusion.prediction import to_v
from nadir.diffusion.samplers import make_sampler
from nadir.diffusion.samplers.config import diffusers_scheduler_config

COUNTS = (10, 20, 25, 28, 30, 40, 50)
SIDE = 128
MEAN, MEAN_SPREAD, TEXTURE = -1.0, 0.5, 0.5
# class, options, Nadir's sampler of the same rule, spacing, precision of the latents
CASES: list[tuple[str, dict[str, Any], str, str, torch.dtype]] = [
    ("DDIMScheduler", {}, "ddim", "trailing", torch.float32),
    ("DDIMScheduler", {}, "ddim", "trailing", torch.float16),
    ("EulerDiscreteScheduler", {}, "euler", "trailing", torch.float32),
    ("EulerDiscreteScheduler", {}, "euler", "trailing", torch.float16),
    ("DPMSolverMultistepScheduler", {}, "dpmpp_2m", "trailing", torch.float32),
    ("UniPCMultistepScheduler", {}, "dpmpp_2m", "trailing", torch.float32),
    ("TCDScheduler", {"original_inference_steps": 1000}, "ddim", "simple", torch.float32),
]


def network(noisy_BCHW: Tensor, t: float) -> Tensor:
    """The v of the ideal denoiser, from its input at the timestep it is told."""
    abar = 1 / (1 + SCHEDULE.sigma(t) ** 2)
    alpha, noise_variance = float(abar.sqrt()), float(1 - abar)
    z = noisy_BCHW.double()
    centre = z.mean(dim=(-1, -2), keepdim=True)
    # Gaussian posteriors of the canvas mean, whose noise is that of all pixels' mean, and of
    # the texture around it
    of_mean = noise_variance / z[0, 0].numel()
    trust = alpha * MEAN_SPREAD**2 / (alpha**2 * MEAN_SPREAD**2 + of_mean)
    mean = MEAN + trust * (centre - alpha * MEAN)
    texture = alpha * TEXTURE**2 / (alpha**2 * TEXTURE**2 + noise_variance) * (z - centre)
    return to_v("x0", mean + texture, z, abar).to(noisy_BCHW.dtype)


def draw(scheduler: Any, steps: int, noise: Tensor, **extra: Any) -> Tensor:
    """The picture that a scheduler ends with, run as a pipeline runs it; float64."""
    scheduler.set_timesteps(steps)
    sample = noise * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        output = network(scheduler.scale_model_input(sample, t), float(t))
        sample = scheduler.step(output, t, sample, return_dict=False, **extra)[0]
    return sample.double()


def deviation(
    kind: str, options: dict[str, Any], rule: str, spacing: str, dtype: torch.dtype, steps: int
) -> tuple[float, float]:
    """Difference of stock and exact picture: root mean square, and of the mean colour."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, 4, SIDE, SIDE, generator=generator).to(dtype)
    stock = getattr(diffusers, kind).from_config(diffusers_scheduler_config(NOISE), **options)
    # Pipelines pass their `eta`, which is 0, to steps that take one.
    extra = {"eta": 0.0} if kind in ("DDIMScheduler", "TCDScheduler") else {}
    exact = make_sampler(SCHEDULE, prediction="v", name=rule, spacing=spacing)
    difference = draw(stock, steps, noise, **extra) - draw(exact, steps, noise.double())
    colour = difference.mean(dim=(-1, -2)).abs().max()
    return float(difference.square().mean().sqrt()) / TEXTURE, float(colour) / TEXTURE


def main() -> None:
    """Measure all classes with usual numbers of steps."""
    torch.set_num_threads(1)
    rows = []
    for kind, options, rule, spacing, dtype in CASES:
        found = [deviation(kind, options, rule, spacing, dtype, steps) for steps in COUNTS]
        label = f"{kind.removesuffix('Scheduler')}, {str(dtype).removeprefix('torch.')}"
        rows.append([label, *(f"{rms:.0e}, {colour:.0e}" for rms, colour in found)])
    text = __doc__.split("\n\n", 1)[1].strip() if __doc__ else ""
    note = (
        "TCD with `original_inference_steps` 1000 and eta 0 is DDIM with simple spacing for any "
        f"number of steps, but ends at timestep 0 and not at sigma 0. diffusers "
        f"{diffusers.__version__}."
    )
    header = ["scheduler, latents", *(f"{steps} steps" for steps in COUNTS)]
    body = f"{text}\n\n{table(header, rows)}\n\n{note}"
    write("stock_scheduler", "The scheduler for stock diffusers", body)


if __name__ == "__main__":
    main()
