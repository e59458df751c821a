"""What the last run did and what each stage cost when it last ran, kept for `nadir status`."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from nadir.ground.files import read_json, write_json
from nadir.ground.secrets import masked_tree
from nadir.ground.workspace import main_workspace

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from nadir.ground.run_record import RunRecord
    from nadir.pipeline.processes.process import StageResult


REGISTER = "register"
"""The registry's step of a run, beside the stages of DVC."""


def pipeline_folder(root: Path) -> Path:
    """Where runs leave their records: `work/pipeline` of the main workspace."""
    return main_workspace(root) / "work" / "pipeline"


def write_record(
    root: Path,
    results: Mapping[str, StageResult],
    *,
    status: str,
    started: float,
    duration_s: float,
    run: RunRecord,
    current: str | None = None,
) -> None:
    """Replace the record of the last run, and add to the one of executions.

    Args:
        root: The project's root.
        results: What became of each stage so far.
        status: `running`, `finished`, `failed` or `killed`.
        started: When the run began, in Unix seconds.
        duration_s: Seconds since, by a clock that nobody sets.
        run: Its ids.
        current: The stage that runs now.
    """
    stages = {
        name: {"state": r.state, "duration_s": round(r.duration_s, 2), "error": r.error}
        for name, r in results.items()
    }
    record = {
        **run.as_json(),
        "status": status,
        "current": current,
        "started": started,
        "duration_s": round(duration_s, 2),
        "stages": stages,
    }
    write_json(pipeline_folder(root) / "last.json", masked_tree(record))
    executed = {
        name: {"duration_s": stages[name]["duration_s"], "run_started": started}
        for name, result in results.items()
        if result.state == "executed"
    }
    known = executions(root)
    if {**known, **executed} != known:
        write_json(pipeline_folder(root) / "executions.json", {**known, **executed})


def last_run(root: Path) -> dict[str, Any]:
    """The record of the last run; empty before the first."""
    record = _read(pipeline_folder(root) / "last.json")
    return record if isinstance(record.get("stages", {}), dict) else {}


def executions(root: Path) -> dict[str, dict[str, float]]:
    """By stage, `duration_s` of its last execution in a run and `run_started` of that run."""
    return _read(pipeline_folder(root) / "executions.json")


def _read(path: Path) -> dict[str, Any]:
    """What is kept there; nothing when a power cut left the file broken: it is history only."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        value = read_json(path)
        return value if isinstance(value, dict) else {}
    return {}


def runs_folder(root: Path) -> Path:
    """Where the pipelines of a workspace note which MLflow run is theirs."""
    return pipeline_folder(root) / "runs"
