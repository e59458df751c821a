"""Rows to files: the table, the numbers per scale, the gate."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa

from nadir.evaluation.comparison import Check, Gate, at_most, gate
from nadir.evaluation.metrics.brightness import brightness_error
from nadir.evaluation.metrics.spectrum import spectrum_distance

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from nadir.config.evaluate import EvaluateParams
    from nadir.evaluation.measure import Measurements, Row
    from nadir.evaluation.protocol import EvalPlan

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

# Averaged over seeds within a prompt, then over prompts.
_PROMPT_MEANS = ("chroma_gap", "clip_gap", "contrast_gap", "diversity")


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
    plan: EvalPlan,
    measured: Measurements,
    reference_NB: NDArray[np.float64] | None,
) -> dict[str, dict[str, float]]:
    """Numbers per scale, by `scale_key`; what could not be measured is absent.

    Args:
        plan: What was drawn.
        measured: What came of it.
        reference_NB: Log power of the references; None without held-out images.
    """
    frame = to_frame(measured.rows)
    summary = {}
    for scale in plan.cfg_scales:
        here = frame[frame["cfg_scale"] == scale]
        numbers = _brightness(plan, here)
        for metric in _PROMPT_MEANS:
            numbers[metric] = prompt_mean(here, metric)
        spectra = measured.spectra.get(scale)
        if spectra and reference_NB is not None:
            numbers["spectrum_distance"] = spectrum_distance(np.stack(spectra), reference_NB)
        summary[scale_key(scale)] = {k: v for k, v in numbers.items() if math.isfinite(v)}
    return summary


def prompt_values(frame: pd.DataFrame, metric: str) -> NDArray[np.float64]:
    """A metric's mean over seeds, one value per prompt; empty when no image has it."""
    rows = frame[frame["metric"] == metric]
    return rows.groupby("prompt_id")["value"].mean().to_numpy(dtype=np.float64)


def prompt_mean(frame: pd.DataFrame, metric: str) -> float:
    """Mean over prompts of the mean over seeds; NaN when no image has the metric."""
    values = prompt_values(frame, metric)
    return float(values.mean()) if len(values) else math.nan


def hard_checks(
    params: EvaluateParams,
    *,
    scales: Mapping[str, Mapping[str, float]],
    nonfinite: int,
    parameterisation: float | None,
    unknown: Sequence[str] = (),
) -> Gate:
    """The checks a checkpoint must pass by itself, before it is compared with any other.

    Args:
        params: Section `evaluate`, for the limits and the deciding scale.
        scales: From `summarise`.
        nonfinite: Images with NaN or infinity.
        parameterisation: See `parameterisation_ratio`; None when it was not measured.
        unknown: Tags of the brightness probes that no training image has.
    """
    decision = scales[scale_key(params.decision_cfg)]
    checks: list[Check] = [
        at_most(
            "finite_images",
            float(nonfinite),
            0.0,
            "Images with NaN or infinity. They turn black when saved, so pixels cannot tell.",
        ),
        at_most(
            "parameterisation",
            parameterisation,
            1.0,
            "Loss read as declared, over loss read as the other of v and epsilon. Above 1 the "
            "checkpoint says one thing and was trained on the other.",
        ),
        _brightness_check(params, decision.get("brightness_error", math.inf), unknown),
    ]
    return gate(checks)


def _brightness_check(params: EvaluateParams, error: float, unknown: Sequence[str]) -> Check:
    """A model that was never told a probe's words may pass, but its failure proves nothing."""
    check = at_most(
        "brightness_error",
        error,
        params.max_brightness_error,
        "Root mean square distance between asked and drawn luminance at CFG "
        f"{params.decision_cfg:g}. The tiny model, trained as SDXL was, has 0.18.",
    )
    if check.state == "pass" or not unknown:
        return check
    doubt = (
        f"No training image has {', '.join(unknown)}, so a failure proves nothing. Ask with tags "
        "of your own: evaluate.brightness in params.yaml."
    )
    return replace(check, state="unresolved", meaning=f"{check.meaning} {doubt}")


def gate_json(result: Gate) -> dict[str, Any]:
    """The gate as plain values; a check that could not be measured has no `value`."""
    checks: dict[str, Any] = {}
    for check in result.checks:
        entry: dict[str, Any] = {"state": check.state, "limit": check.limit}
        if check.value is not None and math.isfinite(check.value):
            entry["value"] = check.value
        checks[check.name] = entry
    return {"verdict": result.verdict, "reason": result.reason, "checks": checks}


def _brightness(plan: EvalPlan, frame: pd.DataFrame) -> dict[str, float]:
    numbers: dict[str, float] = {}
    measured: list[float] = []
    targets: list[float] = []
    for probe in plan.of_kind("brightness"):
        mask = (frame["prompt_id"] == probe.id) & (frame["metric"] == "luminance")
        values: list[float] = frame.loc[mask, "value"].tolist()
        numbers[f"{probe.id}_luminance"] = float(np.mean(values)) if values else math.nan
        measured += values
        targets += [probe.target or 0.0] * len(values)
    error = brightness_error(np.array(measured), np.array(targets)) if measured else math.nan
    return {"brightness_error": error, **numbers}
