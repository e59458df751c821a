"""What the last run of a pipeline came to, as a file for node exporter's textfile collector."""

from __future__ import annotations

import contextlib
import sys
import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.exposition import metrics_place, write_registry
from nadir.ground.files import DamagedJsonError, read_json_object
from nadir.ground.workspace import main_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from prometheus_client import CollectorRegistry

    from nadir.pipeline.processes.process import StageResult

_ENDED = "nadir_pipeline_end_timestamp_seconds"


def leave_metrics(
    root: Path, results: Mapping[str, StageResult], *, status: str, started: float
) -> None:
    """Write the numbers of a run that has ended, where `NADIR_METRICS` names a folder.

    A port is for what lasts: the training meanwhile. What cannot be written is told on standard
    error and fails no run.

    Args:
        root: The project's root.
        results: What became of each stage.
        status: `FINISHED`, `FAILED` or `KILLED`.
        started: When it began, in Unix seconds.
    """
    workspace = main_workspace(root)
    name = f"pipeline_{sha256(bytes(workspace)).hexdigest()[:8]}"
    try:
        folder = metrics_place()
        if not isinstance(folder, Path):
            return
        ends = _earlier_ends(folder / f"nadir_{name}.prom") | {status.lower(): time.time()}
        registry = run_metrics(root, results, workspace=str(workspace), ends=ends, started=started)
        write_registry(registry, folder, name)
    except (OSError, NadirError) as error:
        sys.stderr.write(f"warning: no metrics are left: {error}\n")


def run_metrics(
    root: Path,
    results: Mapping[str, StageResult],
    *,
    workspace: str,
    ends: Mapping[str, float],
    started: float,
) -> CollectorRegistry:
    """The numbers of a run; each has the label `workspace`.

    Args:
        root: The project's root.
        results: What became of each stage.
        workspace: Where it ran.
        ends: By status, when a run last ended so.
        started: When this one began, in Unix seconds.
    """
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()

    def show(name: str, help_text: str, label: str, values: Mapping[str, float]) -> None:
        _gauge(registry, name, help_text, label, {(workspace, at): n for at, n in values.items()})

    show(_ENDED, "When a run last ended, by how it did.", "status", ends)
    seconds = max(ends.values(), default=started) - started
    show("nadir_pipeline_run_seconds", "Of the last run.", "", {"": seconds})
    times = {name: result.duration_s for name, result in results.items()}
    show("nadir_pipeline_stage_seconds", "Of a stage in the last run.", "stage", times)
    _gauge(
        registry,
        "nadir_pipeline_stage_state",
        "1 for what became of a stage in the last run.",
        "stage,state",
        {(workspace, name, result.state): 1.0 for name, result in results.items()},
    )
    validation = _json(root / artifacts.VALIDATION)
    for key, name, label, help_text in (
        ("images", "nadir_dataset_images", "kind", "Images of the dataset."),
        ("quarantined", "nadir_dataset_quarantined", "reason", "Images that are left out."),
        ("shares", "nadir_dataset_share", "name", "Shares and drifts that `validate` measures."),
        ("expectations", "nadir_dataset_expectations", "outcome", "The gate's expectations."),
    ):
        show(name, help_text, label, _numbers(validation.get(key)))
    scales = _json(root / artifacts.EVALUATION).get("cfg_scales") or {}
    _gauge(
        registry,
        "nadir_evaluation_metric",
        "Of the evaluation, by CFG scale.",
        "cfg_scale,metric",
        {
            (workspace, scale, metric): value
            for scale, values in scales.items()
            for metric, value in _numbers(values).items()
        },
    )
    return registry


def _gauge(
    registry: CollectorRegistry,
    name: str,
    help_text: str,
    labels: str,
    values: Mapping[tuple[str, ...], float],
) -> None:
    from prometheus_client import Gauge

    names = ["workspace", *filter(None, labels.split(","))]
    gauge = Gauge(name, help_text, names, registry=registry)
    for place, value in values.items():
        gauge.labels(*place[: len(names)]).set(value)


def _earlier_ends(file: Path) -> dict[str, float]:
    """What the file said before; nothing where it is missing or damaged."""
    from prometheus_client.parser import text_string_to_metric_families

    found: dict[str, float] = {}
    with contextlib.suppress(FileNotFoundError, ValueError, KeyError):
        for family in text_string_to_metric_families(file.read_text(encoding="utf-8")):
            if family.name == _ENDED:
                found = {sample.labels["status"]: sample.value for sample in family.samples}
    return found


def _numbers(values: Any) -> dict[str, float]:
    known = values.items() if isinstance(values, dict) else ()
    return {str(name): float(n) for name, n in known if isinstance(n, int | float)}


def _json(path: Path) -> dict[str, Any]:
    with contextlib.suppress(FileNotFoundError, IsADirectoryError, DamagedJsonError):
        return read_json_object(path)
    return {}
