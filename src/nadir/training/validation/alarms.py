"""Known ways in which a training fails, seen early; every rule is here, with its numbers.

Each rule looks at what was measured so far and gives an `Alarm` or None. They compare a run with
itself and with what always guessing the mean gets, so they need no scale of the data.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.training.validation.levels import HIGH
from nadir.training.validation.rarity import HEAD, TAIL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Values = Mapping[str, float]

WINDOW = 100
"""Steps that a running median looks back on."""
_FIRST_JUDGED = 10
_SPIKES = 3
_TIMES, _DEVIATIONS = 3.0, 10.0
_TO_SIGMA = 1.4826  # of a median absolute deviation to a normal distribution's sigma
_FALLING, _WORSE = 0.98, 1.1
_TAIL_RISES, _HEAD_FALLS = 1.02, 0.99
_EXTREME_EXCESS, _EXTREME_RISE = 0.1, 0.05


@dataclass(frozen=True)
class Alarm:
    """A sign of failure.

    Attributes:
        name: As `train.stop_on` calls it.
        what: What was seen, with numbers.
        fix: What to do.
    """

    name: str
    what: str
    fix: str


def high_sigma(measured: Sequence[Values], mean_error: float) -> Alarm | None:
    """The error at high sigma is not below the first one, and no better than the mean's.

    Or it is a tenth above the first one twice in succession.

    Args:
        measured: Held-out errors so far, in order; three are needed.
        mean_error: What always guessing the mean of each latent channel gets.
    """
    errors = [values[HIGH] for values in measured if HIGH in values]
    if len(errors) < 3:
        return None
    stuck = errors[-1] >= mean_error and errors[-1] > _FALLING * errors[0]
    worse = min(errors[-2:]) > _WORSE * errors[0]
    if not (stuck or worse):
        return None
    return Alarm(
        "high_sigma",
        f"the held-out error at high sigma is {errors[-1]:.3f} and does not fall: it was "
        f"{errors[0]:.3f} at first, and always guessing the mean gets {mean_error:.3f}",
        "pictures become grey or of wrong brightness. Use noise.prediction v and a "
        "train.loss_weight that trains the last timestep (snr_plus_one), check that the base is "
        "what noise says; if the error rises, lower train.learning_rate",
    )


def is_spike(value: float, before: Sequence[float]) -> bool:
    """Whether a loss or gradient norm is far above the ones before it.

    That is above three times their median and ten robust standard deviations from it, so that the
    wide spread of small batches is no spike.

    Args:
        value: Finite.
        before: The last ones, `WINDOW` at most; ten are needed.
    """
    if len(before) < _FIRST_JUDGED:
        return False
    median = statistics.median(before)
    deviation = _TO_SIGMA * statistics.median(abs(one - median) for one in before)
    return value > max(_TIMES * median, median + _DEVIATIONS * deviation)


def spikes(steps: Sequence[int], step: int, what: str) -> Alarm | None:
    """Three spikes or more in the last hundred steps.

    Args:
        steps: Where spikes were.
        step: Now.
        what: The newest one in words.
    """
    recent = [one for one in steps if one > step - WINDOW]
    if len(recent) < _SPIKES:
        return None
    return Alarm(
        "spikes",
        f"{len(recent)} spikes of loss or gradient norm in the last {WINDOW} steps; {what}",
        "lower train.learning_rate or raise train.warmup_steps, or lower train.max_gradient_norm",
    )


def rare_tags(measured: Sequence[Values]) -> Alarm | None:
    """Images with rare tags get worse while those with frequent tags get better.

    The last two measurements must both say so, compared with the one where the rare ones were best.

    Args:
        measured: Held-out errors so far, in order.
    """
    both = [values for values in measured if HEAD in values and TAIL in values]
    if len(both) < 3 or not (_falls_behind(both) and _falls_behind(both[:-1])):
        return None
    best = min(both[:-1], key=lambda values: values[TAIL])
    return Alarm(
        "rare_tags",
        f"rare tags fall behind: the held-out error of images with the rarest tags rose from "
        f"{best[TAIL]:.3f} to {both[-1][TAIL]:.3f}, that of images with the most frequent tags "
        f"fell from {best[HEAD]:.3f} to {both[-1][HEAD]:.3f}",
        "set train.tag_weighting: true or raise tag_statistics.max_weight, show rare tags more "
        "often (train.repeats), or stop earlier; look whether rare tags are right",
    )


def _falls_behind(both: Sequence[Values]) -> bool:
    now, earlier = both[-1], both[:-1]
    best = min(earlier, key=lambda values: values[TAIL])
    return now[TAIL] > _TAIL_RISES * best[TAIL] and now[HEAD] < _HEAD_FALLS * best[HEAD]


def extreme_pixels(shares: Sequence[float], real: float) -> Alarm | None:
    """More pixels of previews are exactly black or white than in real images, and ever more.

    Args:
        shares: Mean share of such pixels of each round of previews so far, in order.
        real: The same of real images like the prompts.
    """
    if len(shares) < 2:
        return None
    rises = shares[-1] > min(shares[:-1]) + _EXTREME_RISE
    if not rises or shares[-1] <= real + _EXTREME_EXCESS:
        return None
    return Alarm(
        "extreme_pixels",
        f"{shares[-1]:.0%} of the previews' pixels are exactly black or white; it was "
        f"{min(shares[:-1]):.0%}, and real images like the prompts have {real:.0%}",
        "the model burns out: lower train.learning_rate, check train.latent_scaling and that the "
        "loss weight does not leave out the last timestep; draw at a lower CFG scale",
    )
