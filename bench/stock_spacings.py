"""Which of stock diffusers' spacings work on a checkpoint's schedule, class by class.

Each class is made by `from_config` from what Nadir writes into `scheduler_config.json`, with one
of diffusers' own spacings switched on, and run on the ideal denoiser of bench/stock_scheduler.py
as a pipeline runs it. A cell is the first timestep that the network is told, which must be 999,
or the error that diffusers raises.
"""

from __future__ import annotations

import inspect
from typing import Any

import diffusers
import torch
from bench.results import table, write
from bench.schedulers_against_diffusers import NOISE
from bench.stock_scheduler import SIDE, draw

from nadir.diffusion.samplers.config import diffusers_scheduler_config

COUNTS = (10, 20, 25, 28, 30, 40, 50)
CLASSES = (
    "EulerDiscrete",
    "EulerAncestralDiscrete",
    "DPMSolverMultistep",
    "DPMSolverSinglestep",
    "UniPCMultistep",
    "DEISMultistep",
    "DDIM",
)
SPACINGS: dict[str, dict[str, Any]] = {
    "trailing, as written": {},
    "linspace": {"timestep_spacing": "linspace"},
    "leading": {"timestep_spacing": "leading"},
    "Karras": {"use_karras_sigmas": True},
    "exponential": {"use_exponential_sigmas": True},
    "beta": {"use_beta_sigmas": True},
    "lu lambdas": {"use_lu_lambdas": True},
}


def knows(kind: str, spacing: str) -> bool:
    """Whether the class has the spacing; what a class does not know it ignores."""
    known = inspect.signature(getattr(diffusers, f"{kind}Scheduler").__init__).parameters
    return all(name in known for name in SPACINGS[spacing])


def outcome(kind: str, spacing: str, steps: int, side: int = SIDE) -> str:
    """The first timestep of a run that ends in numbers, or what goes wrong."""
    stock = getattr(diffusers, f"{kind}Scheduler")
    scheduler = stock.from_config(diffusers_scheduler_config(NOISE), **SPACINGS[spacing])
    noise = torch.randn(1, 4, side, side, generator=torch.Generator().manual_seed(0))
    extra = {"eta": 0.0} if kind == "DDIM" else {}
    try:
        picture = draw(scheduler, steps, noise, **extra)
    except (IndexError, AssertionError, ValueError) as error:
        return type(error).__name__
    first = float(scheduler.timesteps[0])
    return f"{first:g}" if bool(picture.isfinite().all()) else "NaN"


def main() -> None:
    """Run every class with every spacing that it knows."""
    torch.set_num_threads(1)
    rows = [
        [f"{kind}, {spacing}", *(outcome(kind, spacing, steps) for steps in COUNTS)]
        for kind in CLASSES
        for spacing in SPACINGS
        if knows(kind, spacing)
    ]
    header = ["scheduler, spacing", *(f"{steps} steps" for steps in COUNTS)]
    text = __doc__.split("\n\n", 1)[1].strip() if __doc__ else ""
    body = f"{text}\n\n{table(header, rows)}\n\ndiffusers {diffusers.__version__}."
    write("stock_spacings", "Stock diffusers' own spacings", body)


if __name__ == "__main__":
    main()
