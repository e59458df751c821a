"""How a metric is charted over the CFG scales; which metrics there are is none of its concern."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.results import scale_key
from nadir.evaluation.values import prompt_means
from nadir.evaluation.verdict.intervals import bootstrap_mean
from nadir.ground.pages.charts import Level, Series, line_chart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.metric import Metric

SCALE_AXIS = "CFG scale"
_RESAMPLES = 2_000


def scale_chart(metric: Metric, evaluation: Evaluation, series: Series) -> Markup:
    """One line over the scales, with the metric's level and the limit of the gate."""
    levels = [metric.level] if metric.level else []
    if metric.limit is not None:
        levels.append(Level(metric.limit, "limit of the gate"))
    return line_chart(
        [series],
        title=metric.title,
        x_label=SCALE_AXIS,
        x_ticks=list(evaluation.plan.cfg_scales),
        levels=levels,
        from_zero=metric.direction != "zero",
        caption=metric.meaning,
    )


def numbers_by_scale(metric: Metric, evaluation: Evaluation) -> Series | None:
    """The metric's number at each scale; None when no scale has one."""
    scales = list(evaluation.plan.cfg_scales)
    rows = (evaluation.scales[scale_key(scale)] for scale in scales)
    numbers = [row.get(metric.name, float("nan")) for row in rows]
    return Series(metric.title, scales, numbers) if np.isfinite(numbers).any() else None


def prompt_means_by_scale(metric: Metric, evaluation: Evaluation) -> Series | None:
    """Mean over prompts at each scale with its interval; None when a scale has no value."""
    scales, frame = list(evaluation.plan.cfg_scales), evaluation.frame
    mine = frame[frame["metric"] == metric.name]
    values = [prompt_means(mine[mine["cfg_scale"] == scale]) for scale in scales]
    if not all(len(part) for part in values):
        return None
    return interval_series(metric.title, scales, values)


def interval_series(name: str, x: Sequence[float], groups: Sequence[NDArray[np.float64]]) -> Series:
    """The mean of each group of values over `x`, with its bootstrap interval as a band."""
    intervals = [bootstrap_mean(group, resamples=_RESAMPLES) for group in groups]
    return Series(
        name,
        x,
        [interval.mean for interval in intervals],
        [interval.low for interval in intervals],
        [interval.high for interval in intervals],
    )
