"""At which guidance scales a checkpoint is usable by itself, and what stops it at the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.results import scale_key

if TYPE_CHECKING:
    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.metric import Metric


def obstacles(evaluation: Evaluation) -> dict[float, list[str]]:
    """By scale, titles of what makes it unusable there; empty where it is usable.

    A scale is usable where no check of the gate fails and every gap to real images is one that the
    middle 90 % of the held-out images themselves have to their mean.

    Args:
        evaluation: Of one checkpoint.
    """
    return {
        scale: [
            metric.title
            for metric in evaluation.metrics
            if _is_outside(metric, evaluation.scales[scale_key(scale)].get(metric.name))
        ]
        for scale in evaluation.plan.cfg_scales
    }


def _is_outside(metric: Metric, value: float | None) -> bool:
    if value is None:
        return False
    usual = metric.usual()
    fails = metric.limit is not None and metric.check(value).state == "fail"
    return fails or (usual is not None and not usual[0] <= value <= usual[1])
