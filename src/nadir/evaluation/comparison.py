"""Is one checkpoint better than another.

The unit of statistics is the prompt: seeds are averaged within it, differences are taken within it
(same prompt, same noise), and prompts are resampled. Resampling single images instead would make
intervals too narrow, because seeds of one prompt share its difficulty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from nadir.evaluation.gate import at_least
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from nadir.evaluation.gate import Check, State
    from nadir.evaluation.metric import Metric

Direction = Literal["higher", "lower", "zero", "target"]
"""Which values of a metric are good; those of `target` only beside what was asked for."""

RESAMPLES = 10_000
_LEVEL = 0.95
_MIN_PROMPTS = 4  # fewer give an interval that means nothing


@dataclass(frozen=True)
class Interval:
    """A mean over prompts with its bootstrap interval.

    Attributes:
        mean: Mean over prompts.
        low: Lower end of the 95 % interval.
        high: Upper end.
        prompts: Number of prompts.
    """

    mean: float
    low: float
    high: float
    prompts: int


@dataclass(frozen=True)
class Criterion:
    """What a comparison looks at.

    Attributes:
        metric: Name in the evaluation table.
        role: The `primary` must improve; a `guard` must not worsen by more than `margin`.
        direction: Which way is good; with `zero`, distances from 0 are compared.
        margin: Worsening that is tolerated; 0 for a primary.
    """

    metric: str
    role: Literal["primary", "guard"]
    direction: Literal["lower", "higher", "zero"]
    margin: float = 0.0


def bootstrap_mean(
    per_prompt: NDArray[np.float64], *, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile interval of the mean over prompts [P]."""
    count = len(per_prompt)
    rows = np.random.default_rng(seed).integers(0, count, size=(resamples, count))
    means = per_prompt[rows].mean(axis=1)
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Interval(float(per_prompt.mean()), float(low), float(high), count)


def paired_difference(
    champion: pd.DataFrame, challenger: pd.DataFrame, criterion: Criterion, *, cfg_scale: float
) -> Interval:
    """Challenger minus champion by prompt at one scale, positive when the challenger is better.

    Args:
        champion: Rows of an evaluation table.
        challenger: Rows of another with the same `protocol_id`.
        criterion: Metric and its good direction.
        cfg_scale: The scale that decides.

    Raises:
        NadirError: The protocols differ, or no prompt has the metric in both.
    """
    _require_same_protocol(champion, challenger)
    before = _by_prompt(champion, criterion, cfg_scale)
    after = _by_prompt(challenger, criterion, cfg_scale)
    shared = before.index.intersection(after.index)
    if shared.empty:
        raise NadirError(
            f"no prompt has `{criterion.metric}` at CFG {cfg_scale:g} in both evaluations",
            fix="evaluate both with the same parameters",
        )
    difference = np.asarray(after[shared] - before[shared], dtype=np.float64)
    return bootstrap_mean(difference if criterion.direction == "higher" else -difference)


def improvements(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    metrics: Iterable[type[Metric]],
    *,
    cfg_scale: float,
) -> dict[str, Interval]:
    """What `paired_difference` says of every metric that both evaluations have by prompt.

    A metric of a whole set of images, of the checkpoint itself, or with the direction `target` has
    no pairs to compare and is left out.
    """
    found = {}
    for metric in metrics:
        if metric.direction == "target":
            continue
        criterion = Criterion(metric.name, "guard", metric.direction)
        tables = (_by_prompt(table, criterion, cfg_scale) for table in (champion, challenger))
        if all(len(table) for table in tables):
            found[metric.name] = paired_difference(
                champion, challenger, criterion, cfg_scale=cfg_scale
            )
    return found


def compare(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    criteria: Sequence[Criterion],
    *,
    cfg_scale: float,
) -> list[Check]:
    """One check per criterion; `value` is the improvement (negative is worse)."""
    checks = []
    for criterion in criteria:
        gain = paired_difference(champion, challenger, criterion, cfg_scale=cfg_scale)
        floor = 0.0 if criterion.role == "primary" else -criterion.margin
        meaning = (
            f"{criterion.role}: improvement {gain.mean:+.4f}, 95 % interval {gain.low:+.4f} to "
            f"{gain.high:+.4f} over {gain.prompts} prompts; must be above {floor:g}"
        )
        check = at_least(criterion.metric, gain.mean, floor, meaning)
        check = replace(check, state=_state(gain, floor))
        if check.state == "unresolved":
            check = _with_needed_prompts(check, gain, floor)
        checks.append(check)
    return checks


def _state(gain: Interval, floor: float) -> State:
    if gain.prompts < _MIN_PROMPTS:
        return "unresolved"
    if gain.low > floor:
        return "pass"
    # A guard passes when nothing changed at all: no spread, no loss.
    if gain.low == gain.high == gain.mean and gain.mean >= floor and floor < 0:
        return "pass"
    return "fail" if gain.high < floor else "unresolved"


def _with_needed_prompts(check: Check, gain: Interval, floor: float) -> Check:
    """Say how many times more prompts would settle it: the interval shrinks with their root."""
    distance = abs(gain.mean - floor)
    half_width = (gain.high - gain.low) / 2
    if distance == 0 or gain.prompts < _MIN_PROMPTS:
        hint = "needs more prompts"
    else:
        hint = f"needs about {max((half_width / distance) ** 2, 1.1):.1f} times the prompts"
    return replace(check, meaning=f"{check.meaning}; {hint}")


def _by_prompt(table: pd.DataFrame, criterion: Criterion, cfg_scale: float) -> pd.Series[float]:
    rows = table[(table["metric"] == criterion.metric) & (table["cfg_scale"] == cfg_scale)]
    means = rows.groupby("prompt_id")["value"].mean()
    return means.abs() if criterion.direction == "zero" else means


def _require_same_protocol(champion: pd.DataFrame, challenger: pd.DataFrame) -> None:
    ids = set(champion["protocol_id"]) | set(challenger["protocol_id"])
    if len(ids) > 1:
        raise NadirError(
            f"the evaluations follow different protocols ({', '.join(sorted(ids))})",
            fix="evaluate both checkpoints with the same `evaluate` and `noise` parameters",
        )
