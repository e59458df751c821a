"""Pseudo-Huber losses against their formulas, computed another way."""

from __future__ import annotations

import math

import pytest
import torch
from tests.training.test_objective import make_batch, noise_params, off_by_one

from nadir.config.objective import LossWeightParams, PseudoHuberLoss, SquaredLoss
from nadir.diffusion.schedule import NoiseSchedule
from nadir.training.losses.error_functions import error_function
from nadir.training.losses.objective import Objective

SCHEDULE = NoiseSchedule.scaled_linear().zero_terminal()
TIMESTEPS = [0, 400, 998, 999]


def loss_of(kind: str, delta: float, schedule: str = "constant") -> PseudoHuberLoss:
    return PseudoHuberLoss.model_validate({"kind": kind, "delta": delta, "schedule": schedule})


def expected_delta(schedule: str, delta: float, timestep: int) -> float:
    sigma = float(SCHEDULE.sigmas[timestep])
    return {
        "constant": delta,
        "exponential": math.exp(math.log(delta) * timestep / 1000),
        "snr": (1 - delta) / (1 + sigma) ** 2 + delta,
    }[schedule]


@pytest.mark.parametrize("kind", ["huber", "smooth_l1"])
@pytest.mark.parametrize("schedule", ["constant", "exponential", "snr"])
def test_each_kind_and_schedule_follows_its_formula(kind: str, schedule: str) -> None:
    torch.manual_seed(0)
    difference = torch.randn(4, 2, 3, 3) * 2
    error = error_function(loss_of(kind, 0.1, schedule), SCHEDULE)
    found = error(difference, torch.tensor(TIMESTEPS))
    for row, timestep in enumerate(TIMESTEPS):
        d = expected_delta(schedule, 0.1, timestep)
        wanted = 2 * ((difference[row].double() ** 2 + d**2).sqrt() - d)
        wanted = wanted * d if kind == "huber" else wanted
        torch.testing.assert_close(found[row], wanted.float(), rtol=1e-5, atol=1e-6)


def test_huber_is_squared_for_small_errors_and_smooth_l1_absolute_for_large_ones() -> None:
    small, large = torch.full((1, 1, 1, 1), 1e-3), torch.full((1, 1, 1, 1), 100.0)
    at = torch.tensor([500])
    huber, smooth = (error_function(loss_of(k, 0.1), SCHEDULE) for k in ("huber", "smooth_l1"))
    assert float(huber(small, at)) == pytest.approx(1e-6, rel=1e-3)
    assert float(smooth(large, at)) == pytest.approx(200, rel=2e-3)
    squared = error_function(SquaredLoss(kind="mse"), SCHEDULE)
    assert float(squared(large, at)) == 10_000


def test_the_objective_minimises_the_chosen_error_and_still_reports_the_squared_one() -> None:
    noise, batch = noise_params(), make_batch([10, 500, 900, 999])
    weight = LossWeightParams.model_validate({"name": "none", "gamma": 5, "learned": None})
    objective = Objective(SCHEDULE, noise, weight, loss=loss_of("smooth_l1", 0.2))
    result = objective(off_by_one(noise, batch), batch)
    assert float(result.loss) == pytest.approx(2 * (math.sqrt(1.04) - 0.2), rel=1e-4)
    assert float(result.unweighted) == pytest.approx(1.0, rel=1e-4)
