"""The registered versions, each with what decides between them, and one of them in full."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.ground.errors import NadirError
from nadir.ground.secrets import masked_tree
from nadir.ground.workspace import PARAMS_FILE
from nadir.pipeline.lineage.chain import iso
from nadir.pipeline.storage.cache import cached_whole, weights_place
from nadir.pipeline.storage.objects import cache_folder
from nadir.pipeline.storage.sharing import WEIGHTS_TAG
from nadir.tracking.registry.all_versions import registered_versions
from nadir.tracking.registry.judgements import AGAINST_TAG, REASON_TAG, VERDICT_TAG
from nadir.tracking.registry.move_log import read_log
from nadir.tracking.registry.promotion import FORCED_TAG
from nadir.tracking.registry.publish import metric_on_run
from nadir.tracking.registry.versions import model_name, resolve_version
from nadir.tracking.store.connection import connect, missing_is_none, store_faults

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities import Run

    from nadir.tracking.registry.versions import Version


def version_rows(root: Path, *, newest: int | None = None) -> list[dict[str, Any]]:
    """The versions of the model that params.yaml names, newest first.

    Args:
        root: The project's root.
        newest: How many; None is all.

    Returns:
        For each `version`, `aliases`, `created`, `gate` (absolute checks), `judged` (beside the
        champion then), `against` (its version), `metric` (name) and `value` of the metric that
        decides (null where it was not measured), `weights`: `here`, the address of the remote they
        were sent to, `registry` (the version holds them) or `not here`.

    Raises:
        NadirError: The registry cannot be asked.
    """
    name, metric = model_name(root), _metric(root)
    found = [version for version in reversed(registered_versions(root)) if version.name == name]
    cache, client = cache_folder(root), connect(root)
    rows = []
    for version in found[:newest]:
        here = bool(version.md5) and cached_whole(version.md5, cache)
        there = version.tags.get(WEIGHTS_TAG, "registry" if version.held else "not here")
        place = "here" if here else there
        rows.append({**_decisive(version, _run(version, client), metric), "weights": place})
    return rows


def version_facts(uri: str, root: Path) -> dict[str, Any]:
    """One version in full.

    Args:
        uri: Such as `models:/nadir/3`.
        root: The project's root.

    Returns:
        As a row of `version_rows`, and `name`, `run_id`, `reason` of the verdict, `forced` (why, if
        it was promoted against it), `weights_md5`, `moves` of the log that concern it (number,
        time, how, from, to), `metrics` of its run and all `tags`. Whether the remote has the
        weights is asked.

    Raises:
        NadirError: No such version, or the registry cannot be asked.
    """
    version = resolve_version(uri, root)
    client = connect(root)
    run = _run(version, client)
    facts = {"name": version.name, **_decisive(version, run, _metric(root))}
    facts |= {"reason": version.tags.get(REASON_TAG), "forced": version.tags.get(FORCED_TAG)}
    facts |= {"run_id": version.run_id, "weights_md5": version.md5, "weights": "not here"}
    try:
        place = weights_place(version.md5, root, held=bool(version.held)) if version.md5 else ""
        facts["weights"] = place or "missing"
    except NadirError as error:
        facts["weights"] = f"unknown: {error.what}"
    with store_faults(root):
        log = read_log(client, version.name)
    facts["moves"] = [
        {"number": m.number, "at": m.at, "how": m.how, "from": m.versions[0], "to": m.versions[1]}
        for m in log.moves
        if str(version.version) in m.versions and m.state == "done"
    ]
    facts["metrics"] = dict(sorted(run.data.metrics.items())) if run else {}
    return masked_tree({**facts, "tags": version.tags})  # type: ignore[no-any-return]


def _metric(root: Path) -> str:
    """The metric that decides, as a run calls it."""
    return metric_on_run(read_section("gate", GateParams, root / PARAMS_FILE).primary.metric)


@store_faults()
def _run(version: Version, client: MlflowClient) -> Run | None:
    found = None
    with missing_is_none():
        found = client.get_run(version.run_id) if version.run_id else None
    return found or None


def _decisive(version: Version, run: Run | None, metric: str) -> dict[str, Any]:
    metrics = run.data.metrics if run else {}
    # A metric of each guidance scale is called `cfg_4.5.metric`: the first scale stands for them.
    names = [
        metric,
        f"{metric}.mean",
        *sorted(key for key in metrics if key.endswith(f".{metric}")),
    ]
    name = next((key for key in names if key in metrics), metric)
    return {
        "version": version.version,
        "aliases": list(version.aliases),
        "created": iso(version.created_ms),
        "gate": run.data.tags.get("nadir.gate") if run else None,
        "judged": version.tags.get(VERDICT_TAG),
        "against": version.tags.get(AGAINST_TAG),
        "metric": name,
        "value": metrics.get(name),
    }
