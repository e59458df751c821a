"""Does a checkpoint predict what it says: v, or epsilon."""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.gate import at_most
from nadir.evaluation.metric import Metric
from nadir.evaluation.values import CheckpointValue
from nadir.evaluation.verdict.intervals import bootstrap_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.gate import Check
    from nadir.evaluation.metric import Ends
    from nadir.evaluation.subject import Subject
    from nadir.heldout.losses import LossValue

# Far from SNR 1 a wrong reading of the output can be the smaller error by chance of scale.
_SNR_BAND = (0.2, 5.0)


def parameterisation_ratio(values: Sequence[LossValue], schedule: NoiseSchedule) -> float:
    """Error as declared over error as misread, at SNR between 1/5 and 5; below 1 is sane.

    Above 1 the output fits the other parameterisation better: the checkpoint says `v` and was
    trained on epsilon, or the reverse, which shows as brown or burnt images. Infinite when an
    error is not finite.
    """
    declared, misread = (part.sum() for part in _by_image(values, schedule))
    sane = math.isfinite(declared) and misread > 0
    return float(declared / misread) if sane else math.inf


def ratio_interval(values: Sequence[LossValue], schedule: NoiseSchedule) -> Ends | None:
    """95 % interval of `parameterisation_ratio` over images; None where it has none.

    A ratio of means has the error of the mean of declared minus ratio times misread, over the mean
    of misread, to first order (Cochran, Sampling Techniques, 6.4).
    """
    ratio = parameterisation_ratio(values, schedule)
    declared_N, misread_N = _by_image(values, schedule)
    if not math.isfinite(ratio) or len(declared_N) < 2:
        return None
    away = bootstrap_mean((declared_N - ratio * misread_N) / misread_N.mean()).half_width
    return ratio - away, ratio + away


def _by_image(
    values: Sequence[LossValue], schedule: NoiseSchedule
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sums over the middle levels of each image [N]: errors as declared, and as misread."""
    low, high = _SNR_BAND
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for value in values:
        is_middle = low <= float(schedule.snr[int(value.timestep)]) <= high
        if value.misread_x0_mse is not None and is_middle:
            found[value.image].append((value.x0_mse, value.misread_x0_mse))
    sums_N2 = np.array([np.sum(pairs, axis=0) for pairs in found.values()]).reshape(-1, 2)
    return sums_N2[:, 0], sums_N2[:, 1]


class ParameterisationRatio(Metric):
    """Loss read as declared over loss read as the other parameterisation."""

    name = "parameterisation_ratio"
    title = "Parameterisation"
    unit = "ratio of errors"
    direction = "lower"
    meaning = (
        "Loss read as declared, over loss read as the other of v and epsilon. Above 1 the "
        "checkpoint says one thing and was trained on the other."
    )
    needs = frozenset({"holdout"})
    limit = 1.0

    def __init__(self) -> None:
        self._interval: Ends | None = None

    def of_checkpoint(self, subject: Subject) -> CheckpointValue:
        """The ratio over all held-out images."""
        losses = subject.losses
        self._interval = ratio_interval(losses, subject.schedule)
        return CheckpointValue(parameterisation_ratio(losses, subject.schedule) if losses else None)

    def interval(self, evaluation: Evaluation) -> Ends | None:  # noqa: ARG002 - a hook
        """Images are exchanged."""
        return self._interval

    def check(self, value: float | None) -> Check:
        """The gate's line, under the name it has always had."""
        return at_most("parameterisation", value, self.limit, self.meaning)
