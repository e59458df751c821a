"""From measured values to a verdict: a rule, applied to every claim alike."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from nadir.evaluation.verdict.intervals import Interval, bootstrap_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

Verdict = Literal[
    "seen", "not seen", "cannot be seen at this size", "not measured", "not run (budget)"
]
_RESAMPLES = 2_000


def interval(values: Sequence[float], *, exact: bool = False) -> Interval:
    """Mean and interval of values of one unit each: seeds, draws or pictures.

    Args:
        values: At least one.
        exact: Whether they come from a calculation that chance has no part in: the interval then
            holds all of them, else the mean with 95 %.
    """
    found = np.array(values, dtype=np.float64)
    if exact:
        return Interval(float(found.mean()), float(found.min()), float(found.max()), len(found))
    return bootstrap_mean(found, resamples=_RESAMPLES)


def verdict(values: Sequence[float], least: float, *, exact: bool = False) -> Verdict:
    """What follows from the effects that were measured.

    Args:
        values: Effects, positive where the claim holds; at least two say anything.
        least: The smallest effect that would matter, >= 0.
        exact: As in `interval`.

    Returns:
        `seen` when the interval lies above 0; `not seen` when it lies below what would matter;
        else `cannot be seen at this size`. `not measured` without values.
    """
    if not values:
        return "not measured"
    found = interval(values, exact=exact)
    if found.low > 0:
        return "seen"
    if found.high < 0 or (least > 0 and found.high < least):
        return "not seen"
    return "cannot be seen at this size"


@dataclass(frozen=True)
class Separation:
    """How far two arms lie apart over the seeds.

    Attributes:
        difference: Of the means.
        deviation: Standard deviation of one seed: the root mean square of the two arms'.
    """

    difference: float
    deviation: float

    @property
    def deviations(self) -> float:
        """The difference in standard deviations."""
        return self.difference / self.deviation if self.deviation else math.inf


def separation(worse: Sequence[float], better: Sequence[float]) -> Separation | None:
    """Distance of two arms; None with fewer than two seeds."""
    if min(len(worse), len(better)) < 2:
        return None
    both = [statistics.variance(worse), statistics.variance(better)]
    difference = statistics.mean(worse) - statistics.mean(better)
    return Separation(difference, math.sqrt(statistics.mean(both)))
