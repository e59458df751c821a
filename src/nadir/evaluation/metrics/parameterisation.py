"""Does a checkpoint predict what it says: v, or epsilon."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.evaluation.gate import at_most
from nadir.evaluation.metric import Metric
from nadir.evaluation.values import CheckpointValue

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.diffusion.schedule import NoiseSchedule
    from nadir.evaluation.gate import Check
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
    low, high = _SNR_BAND
    middle = [
        value
        for value in values
        if value.misread_x0_mse is not None
        and low <= float(schedule.snr[int(value.timestep)]) <= high
    ]
    declared = sum(value.x0_mse for value in middle)
    misread = sum(value.misread_x0_mse or 0.0 for value in middle)
    sane = math.isfinite(declared) and misread > 0
    return declared / misread if sane else math.inf


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

    def of_checkpoint(self, subject: Subject) -> CheckpointValue:
        """The ratio over all held-out images."""
        losses = subject.losses
        return CheckpointValue(parameterisation_ratio(losses, subject.schedule) if losses else None)

    def check(self, value: float | None) -> Check:
        """The gate's line, under the name it has always had."""
        return at_most("parameterisation", value, self.limit, self.meaning)
