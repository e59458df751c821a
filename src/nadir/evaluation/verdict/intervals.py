"""Intervals of a mean that hold what they say when there are few values.

The symmetric studentised bootstrap (Hall, 1988): each resample is measured in its own standard
error, and the interval is as wide as the resamples say. Percentiles of resampled means, the usual
form, cover 88 % instead of 95 % with eight values (`bench/gate.py` measures both). In groups of
fewer than six values, and where nearly all values are one, resamples say nothing: Student's t does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

RESAMPLES = 10_000
LEVEL = 0.95
_FEWEST_TO_RESAMPLE = 6  # of a group; of fewer, many resamples are nearly one value many times
_NO_SPREAD = 1e-6  # of a resample, in units of the error of all: only rounding is left


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval.

    Attributes:
        mean: Mean over units.
        low: Lower end.
        high: Upper end.
        prompts: Number of units: prompts, or images where the prompts themselves are the question.
    """

    mean: float
    low: float
    high: float
    prompts: int

    @property
    def half_width(self) -> float:
        """Half of its length."""
        return (self.high - self.low) / 2


def bootstrap_mean(
    values: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of the mean of values [N] that were drawn from a population of their like."""
    return stratified_mean([values], resamples=resamples, seed=seed)


def stratified_mean(
    strata: Sequence[NDArray[np.float64]], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Interval of the mean over fixed groups of the mean of values drawn within each.

    Args:
        strata: Values [N] of each group; only values within a group are exchanged.
        resamples: How many.
        seed: Of the resampling; the same each time by default.
    """
    mean, error = _mean_and_error(strata)
    count = sum(len(values) for values in strata)
    if error == 0 or not math.isfinite(error):
        width = 0.0 if error == 0 else math.inf
        return Interval(mean, mean - width, mean + width, count)
    away = math.inf
    if min(len(values) for values in strata) >= _FEWEST_TO_RESAMPLE:
        away = _studentised(strata, mean, error, resamples, seed)
    if not math.isfinite(away):
        from scipy.special import stdtrit

        away = float(stdtrit(count - len(strata), (1 + LEVEL) / 2))
    return Interval(mean, mean - away * error, mean + away * error, count)


def _studentised(
    strata: Sequence[NDArray[np.float64]], mean: float, error: float, resamples: int, seed: int
) -> float:
    """How many of its standard errors the mean of a resample is away at most, in 95 % of them."""
    chance = np.random.default_rng(seed)
    means_R, squares_R = np.zeros(resamples), np.zeros(resamples)
    for values in strata:
        count = len(values)
        drawn_RN = values[chance.integers(0, count, size=(resamples, count))]
        means_R += drawn_RN.mean(axis=1) / len(strata)
        squares_R += drawn_RN.var(axis=1, ddof=1) / count / len(strata) ** 2
    # A resample of one value many times has no error of its own and counts as infinitely far.
    squares_R[squares_R < (_NO_SPREAD * error) ** 2] = 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        away_R = np.nan_to_num(np.abs(means_R - mean) / np.sqrt(squares_R), nan=0.0, posinf=np.inf)
    last = min(math.ceil(LEVEL * (resamples + 1)), resamples) - 1
    return float(np.partition(away_R, last)[last])


def _mean_and_error(strata: Sequence[NDArray[np.float64]]) -> tuple[float, float]:
    """The mean and its standard error; infinite where a group has one value."""
    mean = float(np.mean([values.mean() for values in strata]))
    if any(len(values) < 2 for values in strata):
        return mean, math.inf
    squares = [values.var(ddof=1) / len(values) for values in strata]
    return mean, math.sqrt(float(np.sum(squares))) / len(strata)
