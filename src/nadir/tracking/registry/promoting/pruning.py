"""Versions that nobody needs any more, and what goes with them.

MLflow's `delete_model_version` forgets a version and frees nothing: its files belong to a logged
model, which `delete_logged_model` only marks, and which `mlflow gc` frees on the server. So the
files are deleted first, one version after the other; what was cut off is completed by the next.
The run that trained it stays, with its metrics, report and pictures.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.tracking.registry.all_versions import registered_versions
from nadir.tracking.registry.move_log import read_log
from nadir.tracking.registry.promoting.decisions import Decision, last_word, read_decisions
from nadir.tracking.registry.versions import PENDING_TAG, PRUNING_TAG, Version, model_name
from nadir.tracking.store.connection import connect, missing_is_none, store_faults
from nadir.tracking.store.lock import Hold, registry_lock
from nadir.tracking.version_files.sending import stored_sizes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlflow import MlflowClient

_MODEL = re.compile(r"/(m-[0-9a-f]{32})(?:/|$)")


@dataclass(frozen=True)
class Removal:
    """A version that goes.

    Attributes:
        version: It.
        model_id: MLflow's id of its files; "" of a version without.
        files_bytes: What they take in MLflow's store of artifacts.
    """

    version: Version
    model_id: str
    files_bytes: int


@dataclass(frozen=True)
class Pruned:
    """What goes and what stays.

    Attributes:
        removals: By number.
        kept: The others, by number.
    """

    removals: tuple[Removal, ...]
    kept: tuple[Version, ...]


@store_faults()
def prune(
    root: Path, *, keep: int, dry_run: bool, say: Callable[[Removal], None] = lambda _one: None
) -> Pruned:
    """Remove versions that nothing needs.

    Needed is what an alias names, what the log's last moves went from or to, what waits for an
    approval, what is being registered, and the newest.

    Args:
        root: The project's root.
        keep: How many of the newest versions, and of the log's last moves.
        dry_run: Only tell.
        say: Called with each version before it is removed.

    Raises:
        NadirError: The store refuses, or the lock was lost meanwhile.
    """
    name, client = model_name(root), connect(root)
    with registry_lock(client, name) as hold:
        found = [one for one in registered_versions(root, client=client) if one.name == name]
        needed = _needed(client, name, found, keep)
        gone = [one for one in found if one.version not in needed]
        removals = tuple(_removal(client, one) for one in gone)
        for removal in removals:
            say(removal)
            if not dry_run:
                _remove(client, removal, hold)
    return Pruned(removals, tuple(one for one in found if one.version in needed))


def _needed(client: MlflowClient, name: str, found: list[Version], keep: int) -> set[int]:
    numbers = sorted(one.version for one in found)
    needed = {one.version for one in found if one.aliases or PENDING_TAG in one.tags}
    needed |= set(numbers[len(numbers) - keep :])
    log = read_log(client, name)
    moves = [*log.moves[:keep], *(move for move in log.moves if move.key in log.unended)]
    for move in moves:
        needed |= {int(at) for at in (*move.before.values(), *move.after.values())}
    decisions = read_decisions(client, name)
    newest = next((move.key for move in log.moves if move.state == "done"), "")
    return needed | {one for one in numbers if _is_waited_for(last_word(decisions, one), newest)}


def _is_waited_for(last: Decision | None, newest_move: str) -> bool:
    """Whether an approval is asked for, or was given and not carried out yet."""
    if last is None:
        return False
    return (last.what == "asked" and not last.is_over) or (
        last.what == "approved" and last.move == newest_move
    )


def _removal(client: MlflowClient, version: Version) -> Removal:
    # MLflow's database does not keep the model that a version was made of, only its place.
    source = str(client.get_model_version(version.name, str(version.version)).source)
    named, model = _MODEL.search(source), None
    with missing_is_none():
        model = client.get_logged_model(named[1]) if named else None
    if model is None or model.artifact_location.rstrip("/") != source.rstrip("/"):
        return Removal(version, "", 0)
    return Removal(version, model.model_id, sum(stored_sizes(client, model.model_id, "").values()))


def _remove(client: MlflowClient, removal: Removal, hold: Hold) -> None:
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    name, number = removal.version.name, str(removal.version.version)
    hold.check()
    # From here on nobody promotes it, should this process be killed.
    client.set_model_version_tag(name, number, PRUNING_TAG, "true")
    if removal.model_id:
        place = client.get_logged_model(removal.model_id).artifact_location
        get_artifact_repository(place, tracking_uri=client.tracking_uri).delete_artifacts()
        client.delete_logged_model(removal.model_id)
    client.delete_model_version(name, number)
