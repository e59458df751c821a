"""Where things stand: stages, images, training, model, metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.ground.workspace import main_workspace
from nadir.pipeline.fingerprint import entry_fingerprint, stage_fingerprint
from nadir.pipeline.graph import StageGraph, order, stage_graph
from nadir.tracking.lineage import CHECKPOINT
from nadir.tracking.lock_file import load_yaml, output_hashes, read_lock
from nadir.tracking.registry import find_version, model_name, newest_version
from nadir.tracking.store import connect, store_exists, tracking_uri

if TYPE_CHECKING:
    from pathlib import Path

REPORT = "reports/evaluation.html"


def read_status(root: Path) -> dict[str, Any]:
    """Everything `nadir status --json` prints; what does not exist yet is null or empty.

    Args:
        root: The project's root.

    Returns:
        `stages` (list of name, state, duration_s, outdated, outputs), `images` (used, quarantined
        by reason), `buckets` (their number), `training` (steps, images seen, mean loss of the last
        100 steps), `model` (name, version, aliases), `report` (path), `verdict`, `metrics` (by
        CFG scale) and `mlflow` (uri, run_id).
    """
    evaluation = _json(root / "reports" / "evaluation.json")
    run = _json(root / "models" / "run.json")
    return {
        "stages": _stages(root),
        "images": _images(root),
        "buckets": _bucket_count(root),
        "training": _training(root),
        "model": _model(root),
        "report": REPORT if (root / REPORT).is_file() else None,
        "verdict": evaluation.get("gate", {}).get("verdict"),
        "metrics": dict(evaluation.get("cfg_scales", {})),
        "mlflow": {"uri": tracking_uri(root), "run_id": run.get("run_id")},
    }


def results_table(status: dict[str, Any]) -> list[dict[str, Any]]:
    """One row per CFG scale."""
    rows = status["metrics"].items()
    return [{"cfg_scale": float(scale), **values} for scale, values in rows]


def _stages(root: Path) -> list[dict[str, Any]]:
    definitions = load_yaml(root / "dvc.yaml")["stages"]
    record = _json(main_workspace(root) / "work" / "pipeline" / "last.json").get("stages", {})
    rows = []
    graph = stage_graph(root)
    outdated = _outdated(root, graph)
    for name in order(graph):
        known = record.get(name, {})
        rows.append(
            {
                "name": name,
                "state": known.get("state"),
                "duration_s": known.get("duration_s"),
                "outdated": name in outdated,
                "outputs": _outputs(definitions[name]),
            }
        )
    return rows


def _outdated(root: Path, graph: StageGraph) -> set[str]:
    """Stages whose results were made of other inputs than `dvc.lock` and params.yaml hold now."""
    lock = read_lock(root)
    found: set[str] = set()
    for name in order(graph):
        if name in lock and (graph[name] & found or _has_other_inputs(name, root, lock[name])):
            found.add(name)
    return found


def _has_other_inputs(name: str, root: Path, entry: dict[str, Any]) -> bool:
    try:
        return stage_fingerprint(name, root) != entry_fingerprint(entry)
    except NadirError:
        return True  # an input is gone


def _outputs(definition: dict[str, Any]) -> list[str]:
    entries = [e for key in ("outs", "metrics", "plots") for e in definition.get(key, [])]
    return [entry if isinstance(entry, str) else next(iter(entry)) for entry in entries]


def _images(root: Path) -> dict[str, Any]:
    manifest, quarantine = root / "data/manifest.parquet", root / "data/quarantine.parquet"
    reasons: dict[str, int] = {}
    if quarantine.is_file():
        for reason in pq.read_table(quarantine, columns=["reason"])["reason"].to_pylist():
            reasons[reason] = reasons.get(reason, 0) + 1
    used = pq.read_metadata(manifest).num_rows if manifest.is_file() else None
    return {"used": used, "quarantined": dict(sorted(reasons.items()))}


def _bucket_count(root: Path) -> int | None:
    path = root / "data" / "buckets.parquet"
    if not path.is_file():
        return None
    columns = ["bucket_width", "bucket_height"]
    return int(pq.read_table(path, columns=columns).group_by(columns).aggregate([]).num_rows)


def _training(root: Path) -> dict[str, Any]:
    report = _json(root / "reports" / "training.json")
    return {
        "steps": report.get("steps"),
        "images": report.get("images"),
        "loss": report.get("loss_last_100"),
    }


def _model(root: Path) -> dict[str, Any]:
    """The version of the current checkpoint, else the newest one."""
    name = model_name(root)
    nothing: dict[str, Any] = {"name": name, "version": None, "aliases": []}
    if not store_exists(root):
        return nothing
    try:
        client = connect(root)
    except NadirError:
        return nothing
    md5 = output_hashes(read_lock(root)).get(CHECKPOINT)
    version = (find_version(client, name, md5=md5) if md5 else None) or newest_version(client, name)
    if version is None:
        return nothing
    return {"name": name, "version": version.version, "aliases": list(version.aliases)}


def _json(path: Path) -> dict[str, Any]:
    return dict(read_json(path)) if path.is_file() else {}
