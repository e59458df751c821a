"""The choices that bench/stock_scheduler.py and bench/spacing.py were made by, in short."""

from __future__ import annotations

import pytest
import torch
from bench.schedulers_against_diffusers import NOISE
from bench.spacing import cell
from bench.stock_scheduler import deviation
from bench.stock_spacings import knows, outcome

from nadir.diffusion.samplers import Sampler, make_sampler
from nadir.diffusion.samplers.config import diffusers_scheduler_config
from nadir.diffusion.schedule import NoiseSchedule


@pytest.mark.parametrize("steps", [25, 28])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_exported_class_is_near_exact_for_any_number_of_steps(
    steps: int, dtype: torch.dtype
) -> None:
    kind = diffusers_scheduler_config(NOISE)["_class_name"]
    rms, colour = deviation(kind, {}, "euler", "trailing", dtype, steps)
    assert rms < 0.03
    assert colour < 0.03


def test_stock_ddim_is_exact_only_where_the_steps_divide_the_timesteps() -> None:
    assert max(deviation("DDIMScheduler", {}, "ddim", "trailing", torch.float32, 25)) < 1e-5
    assert min(deviation("DDIMScheduler", {}, "ddim", "trailing", torch.float32, 28)) > 0.1


def test_native_spacing_is_the_default_and_keeps_more_detail(zero_terminal: NoiseSchedule) -> None:
    kept = {
        spacing: [float(part) for part in cell("euler", spacing, 28).split("; ")[1].split(", ")]
        for spacing in ("native", "trailing")
    }
    pairs = list(zip(kept["native"], kept["trailing"], strict=True))
    assert all(trailing < native < 1 for native, trailing in pairs)
    assert pairs[-1][0] > 3 * pairs[-1][1]
    for sampler in (
        make_sampler(zero_terminal, prediction="v"),
        Sampler(zero_terminal, prediction="v"),
    ):
        assert sampler.spacing == "native"


def test_a_sampler_tells_what_it_samples_by(zero_terminal: NoiseSchedule) -> None:
    sampler = make_sampler(zero_terminal, prediction="v", name="heun", start_sigma=20.0)
    assert sampler.facts == {
        "schedule": zero_terminal.fingerprint,
        "prediction": "v",
        "sampler": "heun",
        "spacing": "native",
        "start_sigma": 20.0,
    }


# The table of docs/diffusion.md: what diffusers makes of a spacing with so many steps.
SPACINGS = [
    ("EulerDiscrete", "Karras", (25, 28, 30, 50), {"999"}),
    ("EulerDiscrete", "exponential", (28,), {"999"}),
    ("EulerDiscrete", "leading", (25, 28, 30, 50), {"960", "945", "957", "980"}),
    ("DPMSolverMultistep", "trailing, as written", (25, 28, 30, 50), {"999"}),
    ("DPMSolverMultistep", "linspace", (28,), {"999"}),
    ("DPMSolverMultistep", "Karras", (25, 28, 30, 50), {"IndexError"}),
    ("DPMSolverMultistep", "exponential", (25, 28, 30, 50), {"IndexError"}),
    ("DPMSolverMultistep", "beta", (10, 28), {"IndexError"}),
    ("DPMSolverMultistep", "lu lambdas", (50,), {"IndexError"}),
    ("UniPCMultistep", "trailing, as written", (25, 28, 30, 50), {"999"}),
    ("UniPCMultistep", "Karras", (25, 28, 30, 50), {"AssertionError"}),
    ("UniPCMultistep", "exponential", (25, 28, 30, 50), {"AssertionError"}),
    ("UniPCMultistep", "beta", (10, 28), {"AssertionError"}),
    ("DEISMultistep", "Karras", (25, 28, 30, 50), {"999"}),
    ("DEISMultistep", "beta", (40,), {"IndexError"}),
    ("DPMSolverSinglestep", "Karras", (25, 28, 30, 50), {"999"}),
    ("DPMSolverSinglestep", "beta", (40,), {"IndexError"}),
    ("DDIM", "leading", (25, 28), {"960", "945"}),
]


@pytest.mark.parametrize(("kind", "spacing", "counts", "expected"), SPACINGS)
def test_the_docs_table_says_what_stock_diffusers_does_on_our_schedule(
    kind: str, spacing: str, counts: tuple[int, ...], expected: set[str]
) -> None:
    assert knows(kind, spacing)
    assert {outcome(kind, spacing, steps, side=8) for steps in counts} == expected
