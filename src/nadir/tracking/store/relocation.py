"""A store that was moved or copied with its folder: its records follow, or it is refused.

MLflow writes the absolute place of its artifacts into every experiment, run and model. A clone that
was moved (`mv`), copied (`cp -r`) or restored from a backup then looks for them in the old place,
and worse, writes new ones there, into the other clone if that still exists.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import url2pathname

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

_WAIT_S = 120.0
# Where MLflow 3 keeps absolute places of artifacts.
_COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
_FOLDERS = "SELECT artifact_uri FROM runs UNION ALL SELECT artifact_location FROM logged_models"
_DISTINCT = "SELECT DISTINCT artifact_location FROM experiments"
_REPOINT = (
    "UPDATE {table} SET {column} = :new || substr({column}, length(:old) + 1) "
    "WHERE {column} = :old OR substr({column}, 1, length(:old) + 1) = :old || '/'"
)


def artifact_folder(database: Path) -> Path:
    """Where the artifacts of an SQLite store of ours lie: beside it."""
    return database.resolve().parent / "artifacts"


def settle(database: Path) -> None:
    """Point every record of the store to the artifacts beside it, where they point elsewhere.

    Only for the holder of the store's lock. All records change in one transaction.

    Args:
        database: The SQLite file.

    Raises:
        NadirError: The artifacts are not beside the database; both places are named.
    """
    here = artifact_folder(database)
    with _opened(database) as store:
        known = {place for (place,) in store.execute(_DISTINCT) if place}
        for uri in sorted(known - {here.as_uri()}):
            there = _path(uri)
            if there is None or not _is_ours(there, here) or _same(there, here):
                continue
            _require_artifacts(store, uri, there, here)
            with store:
                store.execute("BEGIN IMMEDIATE")
                for table, column in _columns(store):
                    store.execute(_REPOINT.format(table=table, column=column), _words(uri, here))
            sys.stderr.write(
                f"note: MLflow's records pointed to {there}; they point to {here} now\n"
            )


def _words(old: str, here: Path) -> dict[str, str]:
    return {"old": old, "new": here.as_uri()}


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    store = sqlite3.connect(database, timeout=_WAIT_S, isolation_level=None)
    try:
        yield store
    finally:
        store.close()


def _columns(store: sqlite3.Connection) -> list[tuple[str, str]]:
    """Those that this version of MLflow has."""
    return [
        (table, column)
        for table, column in _COLUMNS
        if column in {row[1] for row in store.execute(f"PRAGMA table_info({table})")}
    ]


def _path(uri: str) -> Path | None:
    """The folder that a `file:` URI or a plain path names; None of any other place."""
    parts = urlsplit(uri)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"}:
        return Path(url2pathname(parts.path))
    return Path(uri) if uri.startswith("/") else None


def _is_ours(there: Path, here: Path) -> bool:
    """Whether a place can be an earlier one of this store, and is none that a user chose.

    Ours are always called the same and lie in a folder called the same; when that one was renamed,
    the old place is gone.
    """
    if there.name != here.name:
        return False
    return there.parent.name == here.parent.name or not there.exists()


def _same(there: Path, here: Path) -> bool:
    """Whether the old place still leads here, by a link or a mount."""
    return there.exists() and here.exists() and there.samefile(here)


def _require_artifacts(store: sqlite3.Connection, uri: str, there: Path, here: Path) -> None:
    kept = [
        str(_path(place)).removeprefix(str(there)).lstrip("/")
        for (place,) in store.execute(_FOLDERS)
        if place and place.startswith(f"{uri}/")
    ]
    left = [name for name in kept if (there / name).exists() and not (here / name).exists()]
    if left or (kept and not here.is_dir()):
        raise NadirError(
            f"MLflow's records name artifacts in {there}, and they are not in {here}",
            where=str(here.parent),
            fix=f"copy that folder here: cp -r {there}/. {here}"
            if left
            else f"bring them back to {here}, or make it an empty folder if they are lost",
        )
