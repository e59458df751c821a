"""The MLflow run of a pipeline: made when something is computed, closed with what became of it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from nadir.ground.files import DamagedJsonError
from nadir.ground.locks import waiting_lock
from nadir.ground.run_record import RunRecord, read_run, write_run
from nadir.ground.secrets import masked
from nadir.ground.workspace import project_root
from nadir.tracking.revision import git_state
from nadir.tracking.store.connection import (
    connect,
    experiment_id,
    missing_is_none,
    store_faults,
    store_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient

PIPELINE_VARIABLE = "NADIR_PIPELINE_RUN"
RunStatus = Literal["FINISHED", "FAILED", "KILLED"]
_BATCH = 100  # MLflow's limit of parameters or tags in one call
_PARAM_CHARACTERS = 6000


def announce_pipeline(path: Path, *, flow_run_id: str, name: str) -> None:
    """Write the file that stands for a pipeline run which may get an MLflow run later.

    It is there as long as the run is open: what a killed pipeline leaves, `close_abandoned` finds.

    Args:
        path: The file; children find it by `NADIR_PIPELINE_RUN`.
        flow_run_id: Prefect's id of the flow run.
        name: Name of the run.
    """
    write_run(path, RunRecord(flow_run_id=flow_run_id, name=name))


def pipeline_run(path: Path, root: Path | None = None) -> str:
    """Id of the pipeline's MLflow run, which is made when it is first asked for.

    Args:
        path: The file that `announce_pipeline` wrote.
        root: The project's root.
    """
    with waiting_lock(path.with_suffix(".lock")):
        record = read_run(path)
        if record.run_id is None:
            root = root or project_root()
            record = replace(record, run_id=_create(record, root), store=store_name(root))
            write_run(path, record)
    return str(record.run_id)


def conclude_pipeline(path: Path, status: RunStatus) -> None:
    """Note what became of the pipeline, for the case that the store cannot be reached now."""
    write_run(path, replace(read_run(path), status=status))


def forget_pipeline(path: Path) -> None:
    """Remove the file of a pipeline run that is closed."""
    path.unlink(missing_ok=True)
    path.with_suffix(".lock").unlink(missing_ok=True)


def close_abandoned(folder: Path, root: Path) -> list[str]:
    """Close the runs of pipelines that were killed, and of the trainings inside them.

    Only for the holder of the workspace: then no pipeline of these files is alive. Runs of another
    store wait until that one is used again.

    Args:
        folder: Where `announce_pipeline` writes.
        root: The project's root.

    Returns:
        Ids of the runs that were closed.

    Raises:
        NadirError: The store cannot be reached.
    """
    closed: list[str] = []
    for path in sorted(folder.glob("*.json")):
        record = _read_record(path)
        if record.run_id is not None:
            if record.store not in {None, store_name(root)}:
                continue
            closed += _close(record.run_id, record.status or "KILLED", root)
        forget_pipeline(path)
    return closed


def _read_record(path: Path) -> RunRecord:
    """One that a power cut left broken names no run, and must not stop all runs to come."""
    with contextlib.suppress(DamagedJsonError):
        return read_run(path)
    return RunRecord()


def parent_from_environment(root: Path | None = None) -> tuple[str | None, str]:
    """The pipeline run that this process is part of and its Prefect flow run, if any."""
    named = os.environ.get(PIPELINE_VARIABLE)
    if not named or not Path(named).is_file():
        return None, ""
    return pipeline_run(Path(named), root), read_run(Path(named)).flow_run_id or ""


@store_faults()
def finish_pipeline_run(
    run_id: str,
    status: RunStatus,
    *,
    tags: Mapping[str, str],
    durations: Mapping[str, float],
    numbers: Mapping[str, float] | None = None,
    files: tuple[Path, ...] = (),
    root: Path | None = None,
) -> None:
    """Close a pipeline's run.

    Args:
        run_id: The run.
        status: What became of the pipeline.
        tags: Tags to set.
        durations: Seconds by stage; logged as `stage_seconds/<stage>`.
        numbers: Further metrics by name.
        files: Files to keep with the run; missing ones are passed over.
        root: The project's root.
    """
    client = connect(root)
    seconds = {f"stage_seconds/{stage}": value for stage, value in durations.items()}
    for name, value in {**seconds, **(numbers or {})}.items():
        client.log_metric(run_id, name, value)
    set_tags(client, run_id, tags)
    for file in files:
        if file.is_file():
            _log_masked(client, run_id, file)
    client.set_terminated(run_id, status)


def _log_masked(client: MlflowClient, run_id: str, file: Path) -> None:
    """Keep a file with a run; what a library wrote into a log may be an address with a password."""
    text = file.read_text(encoding="utf-8", errors="replace")
    if masked(text) == text:
        client.log_artifact(run_id, str(file))
    else:
        client.log_text(run_id, masked(text), file.name)


def set_tags(client: MlflowClient, run_id: str, tags: Mapping[str, str]) -> None:
    """Set many tags of a run at once."""
    from mlflow.entities import RunTag

    entities = [RunTag(key, masked(value)) for key, value in tags.items()]
    for part in _parts(entities):
        client.log_batch(run_id, tags=part)


def log_params(client: MlflowClient, run_id: str, params: Mapping[str, Any]) -> None:
    """Log parameters that the run does not have yet; MLflow never changes one."""
    from mlflow.entities import Param

    known = client.get_run(run_id).data.params
    new = [
        Param(k, masked(str(v))[:_PARAM_CHARACTERS]) for k, v in params.items() if k not in known
    ]
    for part in _parts(new):
        client.log_batch(run_id, params=part)


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"a.b": 1}`; lists stay values."""
    if not isinstance(tree, dict):
        return {prefix: tree}
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


@store_faults()
def _close(run_id: str, status: str, root: Path) -> list[str]:
    """Close a run and its children, as far as they are still called running."""
    client = connect(root)
    run = None
    with missing_is_none():
        run = client.get_run(run_id)
    if run is None:  # deleted for good
        return []
    inside = f"tags.mlflow.parentRunId = '{run_id}' and attributes.status = 'RUNNING'"
    family = [*client.search_runs([run.info.experiment_id], inside), run]
    closed = [member.info.run_id for member in family if member.info.status == "RUNNING"]
    for open_id in closed:
        client.set_terminated(open_id, status)
    return closed


def _parts(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), _BATCH):
        yield items[start : start + _BATCH]


@store_faults()
def _create(record: RunRecord, root: Path) -> str:
    client = connect(root)
    tags = {
        "nadir.kind": "pipeline",
        "prefect.flow_run_id": record.flow_run_id,
        **git_state(root).tags(),
    }
    run = client.create_run(
        experiment_id(client, root),
        run_name=record.name,
        tags={key: value for key, value in tags.items() if value},
    )
    return str(run.info.run_id)
