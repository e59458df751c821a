"""Runs in the clone's own MLflow store that ended long ago and that nothing names."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from nadir.ground.errors import NadirError
from nadir.ground.workspace import main_workspace
from nadir.tracking.registry.all_versions import local_store, pages
from nadir.tracking.store.connection import connect, experiment_id, store_faults

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Sequence

    from mlflow import MlflowClient
    from mlflow.entities import Run

_PARENT = "mlflow.parentRunId"
_AT_ONCE = 500  # ids on one command line


@dataclass(frozen=True)
class OldRuns:
    """What can go.

    Attributes:
        ids: Of the runs.
        folders: Their artifacts, as far as they are on this disk.
    """

    ids: tuple[str, ...]
    folders: tuple[Path, ...]


@store_faults()
def old_runs(root: Path, before: dt.datetime, needed: Collection[str]) -> OldRuns:
    """Runs of this project that ended before a moment, and their artifacts.

    Of the store in this clone alone: others may need what is on a server, and `mlflow gc` is its
    keeper's.

    Args:
        root: The project's root.
        before: The moment.
        needed: Ids of runs that stay, with the pipelines they belong to.

    Raises:
        NadirError: The store cannot be asked.
    """
    client = _own(root)
    if client is None:
        return OldRuns((), ())
    ids = [experiment_id(client, root)]
    runs = list(pages(lambda **page: client.search_runs(ids, **page)))
    stays = set(needed) | {run.info.run_id for run in runs if not _ended_before(run, before)}
    stays |= {run.data.tags.get(_PARENT, "") for run in runs if run.info.run_id in stays}
    go = [run for run in runs if run.info.run_id not in stays]
    folders = [_folder(run.info.artifact_uri) for run in go]
    return OldRuns(
        tuple(run.info.run_id for run in go), tuple(path for path in folders if path.is_dir())
    )


def remove_runs(root: Path, old: OldRuns) -> int:
    """Remove runs for good with their artifacts, by MLflow's own command, and shrink the database.

    Returns:
        How many bytes smaller the database is.

    Raises:
        NadirError: MLflow refuses.
    """
    database = _database(root)
    client, size = _own(root), database.stat().st_size
    for start in range(0, len(old.ids), _AT_ONCE):
        some = old.ids[start : start + _AT_ONCE]
        for run_id in some:
            if client is not None:
                client.delete_run(run_id)
        _collect(database, some)
    for folder in old.folders:  # MLflow leaves an empty one around each
        with contextlib.suppress(OSError):
            folder.parent.rmdir()
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(database)) as opened,
    ):
        opened.execute("vacuum")
    return max(0, size - database.stat().st_size)


def _collect(database: Path, run_ids: Sequence[str]) -> None:
    uri = f"sqlite:///{database}"
    command = [sys.executable, "-m", "mlflow", "gc", "--backend-store-uri", uri, "--run-ids"]
    done = subprocess.run(
        [*command, ",".join(run_ids)],
        env={**os.environ, "MLFLOW_TRACKING_URI": uri},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise NadirError(
            f"MLflow cannot remove old runs: {last}",
            where=str(database),
            fix="see `nadir doctor servers`; the runs are marked as deleted and nothing is lost",
        )


def _own(root: Path) -> MlflowClient | None:
    """The store in this clone, whichever the environment names."""
    if not _database(root).is_file():
        return None
    return local_store(root) or connect(root)


def _database(root: Path) -> Path:
    return main_workspace(root) / "work" / "mlflow" / "mlflow.db"


def _ended_before(run: Run, before: dt.datetime) -> bool:
    return bool(run.info.end_time) and run.info.end_time < before.timestamp() * 1000


def _folder(uri: str) -> Path:
    return Path(unquote(urlparse(uri).path))
