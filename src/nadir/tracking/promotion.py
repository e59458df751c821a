"""Which version is live: aliases moved under a lock, and moved back."""

from __future__ import annotations

import importlib
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.data.reference import PROFILE, accept
from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root
from nadir.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    Version,
    alias_table,
    model_name,
    registry_lock,
    resolve_version,
)
from nadir.tracking.store import connect, store_faults

if TYPE_CHECKING:
    from mlflow import MlflowClient


@dataclass(frozen=True)
class Promotion:
    """What an alias change came to.

    Attributes:
        name: The registered model.
        champion: Version that is live now.
        previous: Version that was live before, which a rollback brings back.
        changed: Whether anything moved.
    """

    name: str
    champion: int
    previous: int | None
    changed: bool


@store_faults()
def promote(root: Path | None = None, *, version: int | None = None) -> Promotion:
    """Make a version the champion; the one before it becomes `previous`.

    Its dataset becomes the accepted one (`nadir.data.reference`), where its run kept a profile.

    Repeating it changes nothing, so a promotion that was interrupted is finished by calling again:
    `previous` is set first, and the champion's alias moves in one step.

    Args:
        root: The project's root.
        version: Its number; None is the challenger.

    Raises:
        NadirError: No such version, no challenger, its gate did not say `promote`, or its weights
            cannot be had.
    """
    root = root or project_root()
    name = model_name(root)
    client = connect(root)
    with registry_lock(root):
        aliases = alias_table(client, name)
        number = str(version) if version is not None else aliases.get(CHALLENGER)
        if number is None:
            raise NadirError(
                f"`{name}` has no challenger",
                where=client.tracking_uri,
                fix="`nadir run` registers one, or name a version",
            )
        candidate = resolve_version(f"models:/{name}/{number}", root)
        _require_gate(client, candidate.run_id, number)
        _require_weights(candidate, root)
        before = aliases.get(CHAMPION)
        if before not in {None, number}:
            client.set_registered_model_alias(name, PREVIOUS, before)
        client.set_registered_model_alias(name, CHAMPION, number)
        if aliases.get(CHALLENGER) == number:
            client.delete_registered_model_alias(name, CHALLENGER)
        _accept_dataset(client, candidate.run_id, root)
        return _outcome(client, name, changed=before != number)


@store_faults()
def rollback(root: Path | None = None) -> Promotion:
    """Make the previous champion live again; the one that was live becomes `previous`.

    Raises:
        NadirError: There was no champion before this one, or its weights cannot be had.
    """
    root = root or project_root()
    name = model_name(root)
    client = connect(root)
    with registry_lock(root):
        aliases = alias_table(client, name)
        previous, champion = aliases.get(PREVIOUS), aliases.get(CHAMPION)
        if previous is None or champion is None:
            raise NadirError(
                f"`{name}` has no previous champion to go back to",
                where=client.tracking_uri,
                fix="promote a version by its number",
            )
        _require_weights(resolve_version(f"models:/{name}/{previous}", root), root)
        client.set_registered_model_alias(name, CHAMPION, previous)
        client.set_registered_model_alias(name, PREVIOUS, champion)
        return _outcome(client, name, changed=True)


def _require_gate(client: MlflowClient, run_id: str, number: str) -> None:
    verdict = client.get_run(run_id).data.tags.get("nadir.gate", "") if run_id else ""
    if verdict != "promote":
        raise NadirError(
            f"the gate's verdict on version {number} is `{verdict or 'missing'}`",
            where="reports/evaluation.html",
            fix="train a better model; a version that once was live comes back with a rollback",
        )


def _require_weights(version: Version, root: Path) -> None:
    """By name: the room that knows where weights are lies above this one."""
    importlib.import_module("nadir.pipeline.cache").require_weights(version, root)


def _accept_dataset(client: MlflowClient, run_id: str, root: Path) -> None:
    """Measure drift against the dataset of this run from now on; older runs have no profile."""
    kept = {file.path for file in client.list_artifacts(run_id)}
    if PROFILE.name in kept:
        with tempfile.TemporaryDirectory() as folder:
            accept(Path(client.download_artifacts(run_id, PROFILE.name, folder)), root)


def _outcome(client: MlflowClient, name: str, *, changed: bool) -> Promotion:
    aliases = alias_table(client, name)
    previous = aliases.get(PREVIOUS)
    return Promotion(
        name=name,
        champion=int(aliases[CHAMPION]),
        previous=int(previous) if previous else None,
        changed=changed,
    )
