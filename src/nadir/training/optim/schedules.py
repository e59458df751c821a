"""The learning rate as a pure function of the step, so a resumed run needs no scheduler state."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from nadir.config.learning_rate import LearningRateParams


def learning_rate(
    step: int, *, peak: float, warmup_steps: int, steps: int, schedule: LearningRateParams
) -> float:
    """Learning rate of optimizer step `step` (from 0): linear warm-up, then the schedule.

    The warm-up reaches the schedule's first value, `peak` for all but `points`, at step
    `warmup_steps`; a schedule ends after the last step.
    """
    factor = FACTORS[schedule.name]
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1) * factor(0.0, schedule)
    return peak * factor((step - warmup_steps) / (steps - warmup_steps), schedule)


def _falling(course: Callable[[float, Any], float]) -> Callable[[float, Any], float]:
    """A course from 1 to 0 made one from 1 to `final`."""
    return lambda z, schedule: schedule.final + (1 - schedule.final) * course(z, schedule)


def _half_cosine(z: float) -> float:
    return 0.5 * (1 + math.cos(math.pi * z))


def _through(points: Sequence[tuple[float, float]], z: float) -> float:
    """Straight lines between points, level before the first and after the last."""
    if z <= points[0][0]:
        return points[0][1]
    for (left, low), (right, high) in itertools.pairwise(points):
        if z <= right:
            return low + (high - low) * (z - left) / (right - left)
    return points[-1][1]


FACTORS: dict[str, Callable[[float, Any], float]] = {
    "constant": lambda _z, _schedule: 1.0,
    "cosine": _falling(lambda z, _: _half_cosine(z)),
    "cosine_restarts": _falling(lambda z, schedule: _half_cosine(z * schedule.cycles % 1.0)),
    "polynomial": _falling(lambda z, schedule: (1 - z) ** schedule.power),
    "rex": _falling(lambda z, _: (1 - z) / (1 - z / 2)),
    "points": lambda z, schedule: _through(schedule.points, z),
}
"""Share of the peak by schedule, given z from 0 to below 1 over the steps after warm-up."""
