"""Nadir's samplers beside diffusers' schedulers, all asked for the same: v, zero terminal SNR.

One picture x0 and one noise n. The "network" knows x0 and answers the v that training defines
for its input at the timestep it is told. So an exact sampler gives it alpha_t x0 + varsigma_t n
at every step, and x0 in the end; anything else is the scheduler's own error.
"""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass
from typing import Any

import diffusers
import torch
from bench.results import table, write

from nadir.diffusion.prediction import add_noise, to_v
from nadir.diffusion.samplers import SAMPLERS, make_sampler
from nadir.diffusion.samplers.config import diffusers_scheduler_config
from nadir.diffusion.schedule import NoiseSchedule

NOISE = {
    "prediction": "v",
    "zero_terminal_snr": True,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timesteps": 1000,
    "sigma_shift": 1.0,
}
STOCK = [
    ("DDIMScheduler", {}),
    ("EulerDiscreteScheduler", {}),
    ("DPMSolverMultistepScheduler", {}),
    ("DPMSolverMultistepScheduler", {"euler_at_final": True}),
    ("UniPCMultistepScheduler", {}),
    ("HeunDiscreteScheduler", {}),
    ("LMSDiscreteScheduler", {}),
]
SCHEDULE = NoiseSchedule.from_settings(**NOISE)


@dataclass(frozen=True)
class Row:
    """What one scheduler does.

    Attributes:
        name: Class and options.
        terminal_sigma: Sigma that its table has at timestep 999.
        first_step: Error of y after the first step, in units of the picture's deviation.
        inputs: Greatest error of any network input; inputs have unit variance.
        result: Error of the final picture, in units of its deviation.
    """

    name: str
    terminal_sigma: float
    first_step: float
    inputs: float
    result: float

    def cells(self) -> list[str]:
        """As table cells."""
        numbers = (self.first_step, self.inputs, self.result)
        sigma = "∞" if math.isinf(self.terminal_sigma) else f"{self.terminal_sigma:.6g}"
        return [self.name, sigma, *(f"{number:.1e}" for number in numbers)]


def measure(scheduler: Any, name: str, steps: int) -> Row:
    """Run a scheduler as a pipeline does, in float32."""
    generator = torch.Generator().manual_seed(0)
    x0, noise = torch.randn(2, 1, 4, 32, 32, generator=generator)
    scheduler.set_timesteps(steps)
    sample = noise * scheduler.init_noise_sigma
    errors, first = [], math.nan
    for i, t in enumerate(scheduler.timesteps):
        abar = 1 / (1 + SCHEDULE.sigma(float(t)) ** 2)
        network_input = scheduler.scale_model_input(sample, t)
        error = float((network_input - add_noise(x0, noise, abar)).abs().max())
        errors.append(error)
        if i == 1:
            first = error / float(abar.sqrt())
        output = to_v("x0", x0, network_input, abar)
        sample = scheduler.step(output, t, sample, return_dict=False)[0]
    result = float((sample - x0).abs().max())
    return Row(name, terminal_sigma(scheduler), first, max(errors), result)


def terminal_sigma(scheduler: Any) -> float:
    """Sigma of timestep 999 in the table that the scheduler samples by."""
    if hasattr(scheduler, "schedule"):
        return float(scheduler.schedule.sigmas[-1])
    abar = float(scheduler.alphas_cumprod[-1])
    return math.sqrt((1 - abar) / abar) if abar else math.inf


def stock(name: str, options: dict[str, Any]) -> tuple[Any, str]:
    """A scheduler of diffusers with the exported configuration, and its name."""
    kind = getattr(diffusers, name)
    scheduler = kind.from_config(diffusers_scheduler_config(NOISE), **options)
    shown = name.removesuffix("Scheduler")
    if options:
        shown += f" ({', '.join(f'{key}={value}' for key, value in options.items())})"
    if "rescale_betas_zero_snr" not in inspect.signature(kind.__init__).parameters:
        shown += " †"
    return scheduler, shown


def rows(steps: int) -> list[Row]:
    """All schedulers, diffusers' first."""
    found = [measure(*stock(name, options), steps) for name, options in STOCK]
    deterministic = [name for name in SAMPLERS if name not in ("euler_ancestral", "dpmpp_2m_sde")]
    for name in deterministic:
        sampler = make_sampler(SCHEDULE, prediction="v", name=name, spacing="trailing")
        found.append(measure(sampler, f"nadir {name}", steps))
    return found


def training_tables() -> str:
    """What training scripts noise with."""
    ddpm, _ = stock("DDPMScheduler", {})
    ours = SCHEDULE.alphas_cumprod
    theirs = ddpm.alphas_cumprod.double()
    worst = float(((theirs[:-1] - ours[:-1]) / ours[:-1]).abs().max())
    return (
        f"Training tables agree: diffusers' `DDPMScheduler` has alphas_cumprod "
        f"{float(theirs[-1]):g} at timestep 999, as Nadir has, and elsewhere differs by at most "
        f"{worst:.1e} (float32 products)."
    )


def main() -> None:
    """Measure with a number of steps that divides 1000 and with one that does not."""
    torch.set_num_threads(1)
    header = ["scheduler", "terminal sigma", "first step", "worst input", "result"]
    parts = [__doc__.split("\n\n", 1)[1].strip() if __doc__ else ""]
    for steps in (25, 28):
        cells = [row.cells() for row in rows(steps)]
        parts.append(f"## {steps} trailing steps\n\n{table(header, cells)}")
    parts.append("† knows no `rescale_betas_zero_snr` and ignores it.")
    parts.append(training_tables())
    parts.append(f"diffusers {diffusers.__version__}.")
    write("schedulers", "Schedulers beside diffusers'", "\n\n".join(parts))


if __name__ == "__main__":
    main()
