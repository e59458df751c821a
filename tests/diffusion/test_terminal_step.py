"""The default loss weight reaches black, the literal one does not.

One seed and a short training; bench/terminal_step.py has three seeds and all weights.
"""

from __future__ import annotations

import pytest
from bench.terminal_step import Budget, MeanNet, draw_black, make_base, uptrain

BUDGET = Budget(base_steps=2000)


@pytest.fixture(scope="module")
def base() -> MeanNet:
    return make_base(0, BUDGET)


def black_after(base: MeanNet, weight: str) -> float:
    return draw_black(uptrain(base, weight, 500, 0, BUDGET), BUDGET.samples)


def test_a_network_trained_up_to_sigma_14_draws_grey_for_black(base: MeanNet) -> None:
    assert draw_black(base, BUDGET.samples) > -0.9


@pytest.mark.parametrize("weight", ["snr_plus_one", "none", "min_snr_snr0_one"])
def test_uptraining_that_weighs_the_terminal_step_reaches_black(base: MeanNet, weight: str) -> None:
    assert black_after(base, weight) == pytest.approx(-1, abs=0.05)


@pytest.mark.parametrize("weight", ["min_snr", "soft_min_snr"])
def test_uptraining_that_does_not_stays_grey(base: MeanNet, weight: str) -> None:
    assert black_after(base, weight) > -0.9
