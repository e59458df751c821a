from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from tests.model.conftest import NOISE

from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.model.scheduler import noise_of_scheduler, stock_scheduler

CASES: list[dict[str, Any]] = [
    {},
    {"zero_terminal_snr": False},
    {"prediction": "epsilon", "zero_terminal_snr": False},
    {"prediction": "x0"},
    {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
]


@pytest.mark.parametrize("changes", [*CASES, {"sigma_shift": 2.0}])
def test_stock_diffusers_gets_the_same_alphas_as_training(changes: dict[str, Any]) -> None:
    noise = NOISE | changes
    ours = NoiseSchedule.from_settings(**noise).alphas_cumprod
    theirs = stock_scheduler(noise).alphas_cumprod.double()
    # Diffusers computes in single precision, and its Euler clamps zero to 2**-24.
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-7)
    exact = DDIMScheduler.from_config(stock_scheduler(noise).config).alphas_cumprod.double()
    torch.testing.assert_close(exact, ours, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("changes", CASES)
def test_a_scheduler_config_is_read_back_as_the_noise_it_came_from(
    changes: dict[str, Any],
) -> None:
    noise = NOISE | changes
    assert noise_of_scheduler(stock_scheduler(noise).config, where="here") == noise


@pytest.mark.parametrize("steps", [25, 28])
def test_sampling_starts_at_the_last_timestep(steps: int) -> None:
    scheduler = stock_scheduler(NOISE)
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps[0] == 999
    assert float(scheduler.sigmas[0]) == pytest.approx(4096, rel=1e-3)


def test_foreign_processes_are_refused_with_their_name() -> None:
    with pytest.raises(NadirError, match=r"there: the scheduler predicts flow on linear betas"):
        noise_of_scheduler({"prediction_type": "flow"}, where="there")
