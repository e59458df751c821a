"""Rows to files: the table, the numbers per scale, the gate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow as pa

from nadir.evaluation.gate import Gate, at_most, gate
from nadir.evaluation.values import ScaleValues

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nadir.evaluation.metric import Metric
    from nadir.evaluation.values import CheckpointNumber, CheckpointValue, Row

EVALUATION: pa.Schema = pa.schema(
    [
        pa.field("protocol_id", pa.string(), nullable=False),
        pa.field("checkpoint", pa.string(), nullable=False),
        pa.field("cfg_scale", pa.float64(), nullable=True),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("seed", pa.int64(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("value", pa.float64(), nullable=False),
    ]
)
"""One value per image and metric, in the order they were drawn; losses have no scale."""


def to_table(rows: Sequence[Row], *, protocol_id: str, checkpoint: str) -> pa.Table:
    """The rows as an `EVALUATION` table."""
    columns = {
        "protocol_id": [protocol_id] * len(rows),
        "checkpoint": [checkpoint] * len(rows),
        "cfg_scale": [row.cfg_scale for row in rows],
        "prompt_id": [row.prompt_id for row in rows],
        "seed": [row.seed for row in rows],
        "metric": [row.metric for row in rows],
        "value": [row.value for row in rows],
    }
    return pa.table(columns, schema=EVALUATION)


def to_frame(rows: Sequence[Row]) -> pd.DataFrame:
    """The rows as a frame with a column per field, also when there is none."""
    names = ("cfg_scale", "prompt_id", "seed", "metric", "value")
    columns = {name: [getattr(row, name) for row in rows] for name in names}
    kinds = {"cfg_scale": "float64", "prompt_id": "str", "metric": "str", "value": "float64"}
    return pd.DataFrame(columns).astype(kinds)


def scale_key(cfg_scale: float) -> str:
    """How a scale is written in JSON keys and file names: `3.5`, `7`."""
    return f"{cfg_scale:g}"


def summarise(
    metrics: Sequence[Metric], cfg_scales: Sequence[float], frame: pd.DataFrame
) -> dict[str, dict[str, float]]:
    """Numbers per scale, by `scale_key`; what could not be measured is absent.

    Args:
        metrics: They have seen every image.
        cfg_scales: Guidance scales of the plan.
        frame: Rows of the images, from `to_frame`.
    """
    summary = {}
    for scale in cfg_scales:
        here = frame[frame["cfg_scale"] == scale]
        numbers: dict[str, float] = {}
        for metric in metrics:
            numbers |= metric.of_scale(ScaleValues(scale, here[here["metric"] == metric.name]))
        summary[scale_key(scale)] = {k: float(v) for k, v in numbers.items() if math.isfinite(v)}
    return summary


def checkpoint_numbers(values: Mapping[str, CheckpointValue]) -> dict[str, CheckpointNumber]:
    """Numbers of the checkpoint as a whole by metric, without those that were not measured."""
    numbers: dict[str, CheckpointNumber] = {}
    for name, value in values.items():
        if isinstance(value.number, dict):
            numbers[name] = {k: float(v) for k, v in value.number.items() if math.isfinite(v)}
        elif value.number is not None:
            numbers[name] = float(value.number)
    return numbers


def hard_checks(
    metrics: Sequence[Metric], numbers: Mapping[str, CheckpointNumber], *, nonfinite: int
) -> Gate:
    """The checks a checkpoint must pass by itself, before it is compared with any other.

    Args:
        metrics: Those with a limit are checked.
        numbers: By metric, of the checkpoint and of the deciding scale.
        nonfinite: Images with NaN or infinity. No metric: such images are shown to none.
    """
    broken = at_most(
        "finite_images",
        float(nonfinite),
        0.0,
        "Images with NaN or infinity. They turn black when saved, so pixels do not show it.",
    )
    checks = [broken]
    for metric in metrics:
        if metric.limit is not None:
            value = numbers.get(metric.name)
            checks.append(metric.check(None if isinstance(value, dict) else value))
    return gate(checks)


def gate_json(result: Gate) -> dict[str, Any]:
    """The gate as plain values; a check that could not be measured has no `value`."""
    checks: dict[str, Any] = {}
    for check in result.checks:
        entry: dict[str, Any] = {"state": check.state, "limit": check.limit}
        if check.value is not None and math.isfinite(check.value):
            entry["value"] = check.value
        checks[check.name] = entry
    return {"verdict": result.verdict, "reason": result.reason, "checks": checks}
