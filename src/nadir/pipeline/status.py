"""Where things stand: stages, images, training, model, metrics."""

from __future__ import annotations

import contextlib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import DamagedJsonError, read_json_object
from nadir.ground.run_record import RunRecord
from nadir.ground.secrets import masked_tree
from nadir.ground.workspace import PARAMS_FILE
from nadir.pipeline.freshness import change_of_inputs
from nadir.pipeline.graph import StageGraph, order, pipeline_graph
from nadir.pipeline.processes.running import is_held, running_stages
from nadir.pipeline.record import REGISTER, executions, last_run
from nadir.pipeline.storage.cache import weights_place
from nadir.pipeline.storage.known import known_differences, known_of_files, note_no_difference
from nadir.tracking.lineage import COPY_TAG, OUTPUT_TAG
from nadir.tracking.lock_file import output_hash, read_lock, stage_definitions
from nadir.tracking.registry.remembered import remembered
from nadir.tracking.registry.versions import (
    CHAMPION,
    alias_table,
    find_version,
    model_name,
    newest_version,
)
from nadir.tracking.store.connection import connect, store_exists, store_faults, tracking_uri

if TYPE_CHECKING:
    import pyarrow as pa


def read_status(root: Path, *, outputs_are_known: bool = False) -> dict[str, Any]:
    """Everything `nadir status --json` prints; what does not exist yet is null or empty.

    Args:
        root: The project's root.
        outputs_are_known: Whether DVC said just now that no output differs from `dvc.lock`.

    Returns:
        `stages` (list of name, state in the last run, duration_s when it last ran, outdated,
        outputs, missing ones, those that differ from dvc.lock's, running, up_to_date, error;
        `register` comes last), `running` (a pipeline holds the workspace), `images` (used,
        quarantined by reason), `buckets` (their number), `training` (steps, images seen, mean loss
        of the last 100 steps), `model` (name, version, aliases, current: it is of the checkpoint on
        disk, error: why the registry cannot tell, champion: its version and where its weights are:
        `here`, `remote`, `missing`, or null when the remote cannot be asked), `report` (path),
        `verdict` and `verdict_reason` of the gate, `metrics` (by CFG scale) and `mlflow` (uri,
        run_id).
    """
    rows, on_disk = _dvc_stages(root, outputs_are_known=outputs_are_known)
    model = _model(root, on_disk)
    evaluation = _json(root / artifacts.EVALUATION)
    gate = evaluation.get("gate") or {}
    page = artifacts.EVALUATION_PAGE
    run = RunRecord.of_json(_json(root / artifacts.TRAINING_RUN))
    tables = [artifacts.MANIFEST, artifacts.QUARANTINE, artifacts.BUCKET_QUARANTINE]
    counts = known_of_files(
        root,
        "counts.json",
        [*(root / path for path in (*tables, artifacts.BUCKETS)), Path(__file__)],
        lambda: {"images": _images(root), "buckets": _bucket_count(root)},
    )
    found = {
        "stages": _stages(root, rows, model),
        "running": is_held(root),
        **counts,
        "training": _training(root),
        "model": model,
        "report": str(page) if (root / page).is_file() else None,
        "verdict": gate.get("verdict"),
        "verdict_reason": gate.get("reason"),
        "metrics": dict(evaluation.get("cfg_scales") or {}),
        "mlflow": {"uri": tracking_uri(root), "run_id": run.run_id},
    }
    return dict(masked_tree(found))


def stages_to_run(root: Path) -> list[str]:
    """Stages that `nadir run` would run now, as far as is known before ingest has listed images.

    Args:
        root: The project's.
    """
    rows, _ = _dvc_stages(root)
    return [row["name"] for row in rows if not row["up_to_date"]]


def results_table(status: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per CFG scale."""
    rows = status["metrics"].items()
    return [{"cfg_scale": float(scale), **values} for scale, values in rows]


def _stages(root: Path, rows: list[dict[str, Any]], model: dict[str, Any]) -> list[dict[str, Any]]:
    last, cost = last_run(root).get("stages", {}), executions(root)
    rows = [*rows, _registration(model)]
    running = running_stages(root, {row["name"]: row["outputs"] for row in rows})
    for row in rows:
        row.update(_history(last.get(row["name"], {}), cost.get(row["name"], {})))
        row["running"] = row["name"] in running
        # Of what lies outside of DVC's reach, only the last attempt can tell.
        if row.pop("always") and row["state"] == "failed":
            row["up_to_date"] = False
    return rows


def _dvc_stages(
    root: Path, *, outputs_are_known: bool = False
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """A row for each stage of DVC, and the hash of each output that is not the lock file's."""
    definitions = stage_definitions(root)
    graph = pipeline_graph(root)
    found: dict[str, dict[str, str]] = {}
    every = [output for one in definitions.values() for output in _outputs(one)]
    if outputs_are_known:
        note_no_difference(root, every)
    elif not is_held(root):  # while files are written they are nobody's
        found = known_differences(root, every)
    lock = read_lock(root)
    outdated = _outdated(graph, root, lock)
    rows = []
    for name in order(graph):
        outputs = _outputs(definitions[name])
        missing = [path for path in outputs if name in lock and not (root / path).exists()]
        differs = sorted(found.get(name, {})) if name in lock else []
        rows.append(
            {
                "name": name,
                "outdated": name in outdated,
                "outputs": outputs,
                "missing": missing,
                "differs": differs,
                "up_to_date": name in lock and name not in outdated and not missing + differs,
                "always": definitions[name].get("always_changed", False),
            }
        )
    return rows, {path: md5 for paths in found.values() for path, md5 in paths.items()}


def _registration(model: dict[str, Any]) -> dict[str, Any]:
    """The registry's step as a row like theirs: up to date where the checkpoint has a version."""
    row = {"name": REGISTER, "outdated": False, "outputs": [], "missing": [], "differs": []}
    return {**row, "up_to_date": model["current"], "always": True}


def _history(last: dict[str, Any], cost: dict[str, float]) -> dict[str, Any]:
    """What the last run did with a stage, and how long it took when it last had to run."""
    return {
        "state": last.get("state"),
        "duration_s": last.get("duration_s") or cost.get("duration_s"),
        "error": last.get("error") or None,
    }


def _outdated(graph: StageGraph, root: Path, lock: dict[str, dict[str, Any]]) -> set[str]:
    """Stages whose results were made of other inputs than `dvc.lock` and params.yaml hold now."""
    found: set[str] = set()
    for name in order(graph):
        if name in lock and (graph[name] & found or change_of_inputs(name, root, lock[name])):
            found.add(name)
    return found


def _outputs(definition: dict[str, Any]) -> list[str]:
    entries = [e for key in ("outs", "metrics", "plots") for e in definition.get(key, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def _images(root: Path) -> dict[str, Any]:
    """An image that fits no bucket is in the manifest, and yet no part of the training."""
    manifest = root / artifacts.MANIFEST
    bad, homeless = (
        _reasons(root / path) for path in (artifacts.QUARANTINE, artifacts.BUCKET_QUARANTINE)
    )
    import pyarrow.parquet as pq

    used = None
    with _unread_when_damaged():
        used = pq.read_metadata(manifest).num_rows - homeless.total()
    return {"used": used, "quarantined": dict(sorted((bad + homeless).items()))}


def _reasons(path: Path) -> Counter[str]:
    with _unread_when_damaged():
        return Counter(_columns(path, ["reason"])["reason"].to_pylist())
    return Counter()


def _bucket_count(root: Path) -> int | None:
    import numpy as np

    path = root / artifacts.BUCKETS
    columns = ["bucket_width", "bucket_height"]
    with _unread_when_damaged():
        table = _columns(path, columns)
        # Grouping and `to_numpy` would import pandas.
        width, height = (
            np.from_dlpack(table[name].combine_chunks()).astype(np.int64) for name in columns
        )
        return len(np.unique(width << 32 | height))
    return None


def _columns(path: Path, names: list[str]) -> pa.Table:
    """Columns of one file; `pyarrow.parquet.read_table` would import pandas for it."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return file.read(columns=names)


def _unread_when_damaged() -> contextlib.suppress:
    """A table that is missing or damaged tells nothing; its stage's row says which of the two."""
    import pyarrow as pa

    return contextlib.suppress(OSError, pa.ArrowException)


def _training(root: Path) -> dict[str, Any]:
    report = _json(root / artifacts.TRAINING)
    return {
        "steps": report.get("steps"),
        "images": report.get("images"),
        "loss": report.get("loss_last_100"),
    }


def _model(root: Path, on_disk: dict[str, str]) -> dict[str, Any]:
    """The version of the checkpoint on disk, else the newest one."""
    name = known_of_files(
        root,
        "model.json",
        [root / PARAMS_FILE, Path(__file__)],
        lambda: {"name": model_name(root)},
    )
    found: dict[str, Any] = {**name, "version": None, "aliases": []}
    found |= {"current": False, "error": None, "champion": None}
    if not store_exists(root):
        return found
    try:
        md5 = on_disk.get(str(artifacts.CHECKPOINT)) or output_hash(root, artifacts.CHECKPOINT)
        question = f"model {found['name']}, checkpoint {md5}"
        told = remembered(root, question, lambda: _ask_registry(root, found["name"], md5))
        champion = _champion(root, told["champion"])
    except NadirError as error:
        return {**found, "current": None, "error": str(error)}
    return {**found, **told, "champion": champion}


@store_faults()
def _ask_registry(root: Path, name: str, md5: str | None) -> dict[str, Any]:
    """The version of a checkpoint, else the newest, and number and hash of the champion."""
    client = connect(root, patience_s=0)
    own = find_version(client, name, md5=md5) if md5 else None
    version = own or newest_version(client, name)
    number = alias_table(client, name).get(CHAMPION)
    champion = None
    if number is not None:
        tags = client.get_model_version(name, number).tags
        champion = {"version": int(number), "md5": tags.get(OUTPUT_TAG, "")}
        champion["held"] = COPY_TAG in tags
    found: dict[str, Any] = {"version": None, "aliases": [], "current": False}
    found["champion"] = champion
    if version is not None:
        known = {"version": version.version, "aliases": list(version.aliases)}
        found |= known | {"current": own is not None}
    return found


def _champion(root: Path, told: dict[str, Any] | None) -> dict[str, Any] | None:
    """The live version, and where its weights are; a file's content is not read."""
    if told is None:
        return None
    weights: str | None = "missing"
    if told["md5"]:
        try:
            weights = weights_place(told["md5"], root, held=told["held"])
        except NadirError:
            weights = None
    return {"version": told["version"], "weights": weights}


def _json(path: Path) -> dict[str, Any]:
    """What a stage wrote there; of a damaged file the stage's row says that it differs."""
    with contextlib.suppress(FileNotFoundError, IsADirectoryError, DamagedJsonError):
        return read_json_object(path)
    return {}
