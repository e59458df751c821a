"""How much better one checkpoint is than another by one metric, with an interval.

The unit of statistics is the prompt: seeds are averaged within it, differences are taken within it
(same prompt, same noise), and prompts are resampled. Resampling single images instead would make
intervals too narrow, because seeds of one prompt share its difficulty. Only where the prompts
themselves are the question, as with brightness that is asked for, are the seeds within each
resampled: there are no other such prompts to speak of.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from nadir.evaluation.verdict.intervals import RESAMPLES, Interval, bootstrap_mean, stratified_mean
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pandas as pd

    from nadir.evaluation.metric import Metric

Direction = Literal["higher", "lower", "zero", "target"]
"""Which values of a metric are good; those of `target` only beside what was asked for."""


@dataclass(frozen=True)
class Criterion:
    """What a comparison looks at.

    Attributes:
        metric: Name in the evaluation table.
        role: The `primary` decides; a `guard` must not worsen by more than `margin`.
        direction: Which way is good; with `zero`, distances from 0 are compared.
        margin: Worsening that is tolerated; 0 where an improvement must be shown.
        unit: What is resampled.
        title: For people.
    """

    metric: str
    role: Literal["primary", "guard"]
    direction: Literal["lower", "higher", "zero"]
    margin: float = 0.0
    unit: Literal["prompt", "seed"] = "prompt"
    title: str = ""


def criterion_of(
    metric: type[Metric], role: Literal["primary", "guard"], *, name: str = "", margin: float = 0.0
) -> Criterion | None:
    """How a metric is compared; None of one whose values are good only beside a target."""
    if metric.direction == "target":
        return None
    is_fixed = metric.fixed_prompts or "targets" in metric.needs
    unit: Literal["prompt", "seed"] = "seed" if is_fixed else "prompt"
    part = name.removeprefix(metric.name).strip("_").replace("_", " ")
    title = f"{metric.title}: {part}" if part else metric.title
    return Criterion(name or metric.name, role, metric.direction, margin, unit, title)


def paired_difference(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    criterion: Criterion,
    *,
    cfg_scale: float | None,
    champion_cfg: float | None = None,
) -> Interval:
    """How much better the challenger is at one scale; negative when it is worse.

    Args:
        champion: Rows of an evaluation table.
        challenger: Rows of another with the same `protocol_id`.
        criterion: Metric and its good direction.
        cfg_scale: The scale that is read; None for what needs no guidance.
        champion_cfg: The champion's, where it is another.

    Raises:
        NadirError: The protocols differ, or no prompt has the metric in both.
    """
    require_same_protocol(champion, challenger)
    other = cfg_scale if champion_cfg is None else champion_cfg
    before, after = rows_of(champion, criterion, other), rows_of(challenger, criterion, cfg_scale)
    gain = gain_of(before, after, criterion)
    if gain is None:
        at = "" if cfg_scale is None else f" at CFG {cfg_scale:g}"
        raise NadirError(
            f"no prompt has `{criterion.metric}`{at} in both evaluations",
            fix="evaluate both with the same parameters",
        )
    return gain


def gain_of(
    before: pd.DataFrame,
    after: pd.DataFrame,
    criterion: Criterion,
    *,
    resamples: int = RESAMPLES,
) -> Interval | None:
    """The improvement from some rows to others of one metric; None where nothing can be paired."""
    pairs = before.merge(after, on=["prompt_id", "seed"], suffixes=("_before", "_after"))
    if pairs.empty:
        return None
    if criterion.unit == "seed":
        better = _goodness(pairs["value_after"], criterion) - _goodness(
            pairs["value_before"], criterion
        )
        groups = [np.asarray(g, dtype=np.float64) for _, g in better.groupby(pairs["prompt_id"])]
        if min(len(group) for group in groups) > 1:
            return stratified_mean(groups, resamples=resamples)
    means = pairs.groupby("prompt_id")[["value_before", "value_after"]].mean()
    better = _goodness(means["value_after"], criterion) - _goodness(
        means["value_before"], criterion
    )
    return bootstrap_mean(np.asarray(better, dtype=np.float64), resamples=resamples)


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
    require_same_protocol(champion, challenger)
    found = {}
    for metric in metrics:
        criterion = criterion_of(metric, "guard")
        if criterion is None:
            continue
        before, after = (rows_of(table, criterion, cfg_scale) for table in (champion, challenger))
        gain = gain_of(before, after, criterion)
        if gain is not None:
            found[metric.name] = gain
    return found


def rows_of(table: pd.DataFrame, criterion: Criterion, cfg_scale: float | None) -> pd.DataFrame:
    """The rows of a metric at one scale: prompt_id, seed, value."""
    mine = table[table["metric"] == criterion.metric]
    scales = mine["cfg_scale"]
    return mine[scales.isna() if cfg_scale is None else scales == cfg_scale][
        ["prompt_id", "seed", "value"]
    ]


def scales_of(table: pd.DataFrame) -> list[float]:
    """The guidance scales that a table has, from the lowest."""
    return sorted(float(scale) for scale in table["cfg_scale"].dropna().unique())


def mean_of(rows: pd.DataFrame, criterion: Criterion) -> float:
    """Mean over prompts of the mean over seeds; the size of it where 0 is best."""
    means = rows.groupby("prompt_id")["value"].mean()
    return float((means.abs() if criterion.direction == "zero" else means).mean())


def require_same_protocol(champion: pd.DataFrame, challenger: pd.DataFrame) -> None:
    """Refuse evaluations that drew other pictures.

    Raises:
        NadirError: They did.
    """
    ids = set(champion["protocol_id"]) | set(challenger["protocol_id"])
    if len(ids) > 1:
        raise NadirError(
            f"the evaluations follow different protocols ({', '.join(sorted(ids))})",
            fix="evaluate both checkpoints with the same `evaluate` parameters and data",
        )


def _goodness(values: pd.Series[float], criterion: Criterion) -> pd.Series[float]:
    """The values turned so that more is better."""
    if criterion.direction == "zero":
        return -values.abs()
    return values if criterion.direction == "higher" else -values
