"""The MLflow run of a training, which outlives the process: a resumed training goes on in it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from nadir.config.edit import read_params
from nadir.ground import artifacts
from nadir.ground.run_record import RunRecord, read_run, write_run
from nadir.ground.workspace import PARAMS_FILE, project_root
from nadir.tracking.lineage import lineage_tags
from nadir.tracking.lock_file import output_hash
from nadir.tracking.runs.pipeline_run import (
    RunStatus,
    flatten,
    log_params,
    parent_from_environment,
    set_tags,
)
from nadir.tracking.store.connection import (
    URI_VARIABLE,
    connect,
    experiment_id,
    missing_is_none,
    store_faults,
    tracking_uri,
)
from nadir.training.run_files import RUN

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient

RUN_VARIABLE = "NADIR_TRAINING_RUN"
_REPORTER = "nadir.tracking.runs.reporter:MlflowReporter"
# Sections that shape no weights: where results are filed, how fast it goes, what is drawn.
_NOT_TRAINING = {"register", "compute", "evaluate", "gate"}


@store_faults()
def open_run(work_dir: Path, fingerprint: str, root: Path | None = None) -> dict[str, str]:
    """Make the training's run, or take up the one kept in `work_dir`.

    Inside a pipeline the run is nested under the pipeline's run, otherwise it stands alone. It
    gets every parameter that shapes the weights, the lineage tags and the dataset.

    Args:
        work_dir: The training's own folder, one per fingerprint; holds `run.json`.
        fingerprint: Of the `train` stage.
        root: The project's root.

    Returns:
        Variables for the training processes: the run's id, the store, and the reporter to load.
        `NADIR_TRAINING_RUN` holds the run's id.

    Raises:
        NadirError: The store cannot be reached.
    """
    root = root or project_root()
    client = connect(root)
    parent, flow_run_id = parent_from_environment(root)
    run_id = _kept_run(client, work_dir) or _create(client, work_dir, fingerprint, root)
    tags = lineage_tags(root, fingerprint=fingerprint, flow_run_id=flow_run_id, output=False)
    tags |= {"nadir.kind": "training"} | ({"mlflow.parentRunId": parent} if parent else {})
    set_tags(client, run_id, tags)
    log_params(client, run_id, _training_params(root))
    _log_dataset(client, run_id, root)
    return {
        RUN_VARIABLE: run_id,
        URI_VARIABLE: tracking_uri(root),
        "NADIR_REPORTER": _REPORTER,
    }


@store_faults()
def close_run(work_dir: Path, status: RunStatus, root: Path | None = None) -> None:
    """Close the run kept in `work_dir` if its training could not do so itself (it was killed)."""
    if read_run(work_dir / RUN).run_id is None:
        return
    client = connect(root)
    run_id = _kept_run(client, work_dir, reopen=False)
    if run_id and client.get_run(run_id).info.status == "RUNNING":
        client.set_terminated(run_id, status)


def _kept_run(client: MlflowClient, work_dir: Path, *, reopen: bool = True) -> str | None:
    """The run of an earlier attempt, when this store still has it."""
    run_id = read_run(work_dir / RUN).run_id
    if run_id is None:
        return None
    run = None
    with missing_is_none():
        run = client.get_run(run_id)
    if run is None or run.info.lifecycle_stage == "deleted":
        return None
    if reopen:
        client.update_run(run_id, status="RUNNING")
    return run_id


def _create(client: MlflowClient, work_dir: Path, fingerprint: str, root: Path) -> str:
    run = client.create_run(experiment_id(client, root), run_name="train")
    run_id = str(run.info.run_id)
    write_run(work_dir / RUN, RunRecord(run_id=run_id, fingerprint=fingerprint))
    return run_id


def _training_params(root: Path) -> dict[str, Any]:
    tree = read_params(root / PARAMS_FILE).model_dump(mode="json", by_alias=True)
    return flatten({name: value for name, value in tree.items() if name not in _NOT_TRAINING})


def _log_dataset(client: MlflowClient, run_id: str, root: Path) -> None:
    """The latents as the run's input; a DVC directory hash is just as long as a digest may be."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    digest = output_hash(root, artifacts.LATENTS)
    if not digest:
        return
    dataset = Dataset(
        name="latents",
        digest=digest[:36],
        source_type="dvc",
        source=json.dumps({"path": str(artifacts.LATENTS)}),
    )
    context = InputTag("mlflow.data.context", "training")
    client.log_inputs(run_id, [DatasetInput(dataset, [context])])


def now_ms() -> int:
    """Milliseconds since 1970, as MLflow counts."""
    return int(time.time() * 1000)
