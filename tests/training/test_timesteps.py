"""Distributions of timesteps against scipy's, and that strata survive them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from scipy import stats
from scipy.special import logit

from nadir.config.objective import TimestepParams
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.training.losses.timesteps import TimestepSampler
from nadir.training.randomness import stratified_timesteps

SCHEDULE = NoiseSchedule.scaled_linear().zero_terminal()
T = 1000
AREA = 1024 * 1024
DISTRIBUTIONS: dict[str, tuple[dict[str, Any], Any]] = {
    "logit_normal": (
        {"distribution": "logit_normal", "mean": 0.5, "std": 1.2},
        lambda x: stats.norm.cdf(logit(x), loc=0.5, scale=1.2),
    ),
    "beta": ({"distribution": "beta", "alpha": 2.0, "beta": 1.5}, stats.beta(2.0, 1.5).cdf),
    "uniform": ({"distribution": "uniform"}, stats.uniform().cdf),
}


def sampler(settings: dict[str, Any], schedule: NoiseSchedule = SCHEDULE) -> TimestepSampler:
    whole = {"min": 0, "max": 1, "shift": None} | settings
    params = TypeAdapter(TimestepParams).validate_json(json.dumps(whole))
    return TimestepSampler(params, schedule)


def test_the_papers_setting_draws_what_was_always_drawn_to_the_bit() -> None:
    plain = sampler({"distribution": "uniform"})
    for step in range(100):
        expected = stratified_timesteps(3, step, 7, T)
        assert torch.equal(plain.draw(3, step, 7, AREA), expected)


@pytest.mark.parametrize("name", DISTRIBUTIONS)
@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (0.1, 0.75)])
def test_probabilities_are_the_distributions_own_within_the_range(
    name: str, low: float, high: float
) -> None:
    settings, cdf = DISTRIBUTIONS[name]
    found = sampler({**settings, "min": low, "max": high}).probabilities(AREA).numpy()
    edges = np.linspace(low, high, round((high - low) * T) + 1)
    expected = np.diff(cdf(edges)) / (cdf(high) - cdf(low))
    first = round(low * T)
    np.testing.assert_allclose(found[first : first + len(expected)], expected, atol=1e-12)
    assert found.sum() == pytest.approx(1)
    outside = np.delete(found, np.arange(first, first + len(expected)))
    assert not outside.any()


@pytest.mark.parametrize("name", ["logit_normal", "beta"])
def test_each_position_of_a_batch_follows_the_distribution(name: str) -> None:
    settings, cdf = DISTRIBUTIONS[name]
    drawer = sampler({**settings, "min": 0.1})
    draws = np.stack([drawer.draw(0, step, 4, AREA).numpy() for step in range(8000)])
    edges = np.linspace(0.1, 1, 31)
    expected = np.diff(cdf(edges))
    for position in range(4):
        counts, _ = np.histogram(draws[:, position], np.round(edges * T))
        fit = stats.chisquare(counts, expected / expected.sum() * len(draws))
        assert fit.pvalue > 1e-3
        assert draws[:, position].min() >= 100


@pytest.mark.parametrize(
    "settings",
    [
        DISTRIBUTIONS["logit_normal"][0],
        DISTRIBUTIONS["beta"][0],
        {"distribution": "uniform", "min": 0.2},
        {"distribution": "uniform", "shift": 256 * 256},
    ],
)
def test_a_batch_has_one_timestep_of_each_stratum_of_probability(settings: dict[str, Any]) -> None:
    drawer = sampler(settings)
    before = np.concatenate([[0], drawer.probabilities(AREA).cumsum(0).numpy()])
    for step in range(20):
        found = drawer.draw(1, step, 16, AREA).numpy()
        counts = np.bincount(found, minlength=T).cumsum()
        assert np.abs(counts - 16 * before[1:]).max() < 1 + 1e-9
        assert len(np.unique(drawer.draw(1, step, 16, AREA).numpy())) > 8


@pytest.mark.parametrize(("base", "factor"), [(512 * 512, 2.0), (2048 * 2048, 0.5)])
@pytest.mark.parametrize("schedule", [SCHEDULE, NoiseSchedule.scaled_linear()])
def test_the_shift_multiplies_every_drawn_sigma(
    base: int, factor: float, schedule: NoiseSchedule
) -> None:
    shifted = sampler({"distribution": "uniform", "shift": base}, schedule)
    # Forwards, and numerically: sigmas of a fine grid, made `factor` times as high, then counted
    # into the timesteps whose middle they lie nearest to.
    grid = torch.linspace(0, T - 1, 400_001, dtype=torch.float64)[1:-1]
    sigmas = schedule.sigma(grid) * factor
    nearest = (schedule.timestep(sigmas) + 0.5).floor().long().clamp(max=T - 1)
    counted = torch.bincount(nearest, minlength=T).double() / len(grid)
    found = shifted.probabilities(AREA)
    torch.testing.assert_close(found.cumsum(0), counted.cumsum(0), rtol=0, atol=2e-3)
    inside = slice(300, 860)  # beyond, timesteps end
    torch.testing.assert_close(found[inside], counted[inside], rtol=0.02, atol=0)


def test_the_shift_belongs_to_the_bucket() -> None:
    drawer = sampler({"distribution": "uniform", "shift": 1024 * 1024})
    level = [float(drawer.draw(0, 0, 256, side**2).double().mean()) for side in (512, 1024, 2048)]
    assert level[0] < level[1] < level[2]
    assert level[1] == pytest.approx(499.5, abs=1)


def test_a_range_without_any_probability_is_refused() -> None:
    with pytest.raises(NadirError, match="no timestep from 990 to before 1000 of 1000 is ever"):
        sampler({"distribution": "logit_normal", "mean": -40, "std": 0.1, "min": 0.99})
    with pytest.raises(NadirError, match="no timestep from 0 to before 0"):
        sampler({"distribution": "uniform", "max": 0.0001})
    with pytest.raises(ValueError, match="min must be less than max"):
        sampler({"distribution": "uniform", "min": 0.5, "max": 0.5})
