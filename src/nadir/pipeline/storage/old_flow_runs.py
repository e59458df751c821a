"""Prefect's records of old flow runs in the clone's own database, and the room they take."""

from __future__ import annotations

import contextlib
import datetime as dt
import os
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.workspace import main_workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

# A run whose machine lost power stays `RUNNING` for good; a living one is younger than that.
_DEAD_AFTER = dt.timedelta(days=2)
_OLD_RUNS = """
create temporary table old as select id from flow_run
where state_type in ('COMPLETED', 'FAILED', 'CRASHED', 'CANCELLED')
      and coalesce(end_time, start_time, expected_start_time) < ?
   or state_type in ('RUNNING', 'CANCELLING', 'PENDING')
      and coalesce(start_time, expected_start_time) < ?
"""
# Logs, artifacts and events name their run without a foreign key, and stay when it goes.
_ROWS = (
    "delete from log where flow_run_id in (select id from old)",
    "delete from artifact_collection where flow_run_id in (select id from old)",
    "delete from artifact where flow_run_id in (select id from old)",
    "delete from event_resources where occurred < :before",
    "delete from events where occurred < :before",
    "delete from flow_run where id in (select id from old)",
)
_BUSY_S = 30.0


def database_of(root: Path) -> Path | None:
    """The database that Prefect keeps in this clone; None before the first run.

    A server's is its own, and has a service for this (docs/operations.md).
    """
    home = os.environ.get("PREFECT_HOME") or str(main_workspace(root) / "work" / "prefect")
    path = Path(home).expanduser() / "prefect.db"
    return path if path.is_file() and path.is_relative_to(main_workspace(root)) else None


def remove_old_flow_runs(path: Path, before: dt.datetime, *, dry_run: bool) -> tuple[int, int]:
    """Remove runs that ended before a moment, with logs, artifacts and events, and shrink the file.

    Args:
        path: Prefect's database.
        before: The moment, in UTC.
        dry_run: Only count.

    Returns:
        How many runs, and how many bytes the file is smaller; 0 where nothing was removed.

    Raises:
        NadirError: The database is damaged, of another form, or somebody holds it.
    """
    dead = min(before, dt.datetime.now(dt.UTC) - _DEAD_AFTER)
    size = path.stat().st_size
    with _opened(path) as database:
        database.execute(_OLD_RUNS, (_as_prefect_writes(before), _as_prefect_writes(dead)))
        ((runs,),) = database.execute("select count(*) from old")
        if dry_run or not runs:
            return runs, 0
        with database:
            for statement in _ROWS:
                database.execute(statement, {"before": _as_prefect_writes(before)})
        database.execute("vacuum")
        database.execute("pragma wal_checkpoint(truncate)")
    return runs, max(0, size - path.stat().st_size)


def _as_prefect_writes(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).replace(tzinfo=None).isoformat(sep=" ")


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S)) as database:
            database.execute("pragma foreign_keys = on")
            yield database
    except sqlite3.Error as error:
        raise NadirError(
            f"Prefect's old records cannot be removed: {error}",
            where=str(path),
            fix="stop `nadir servers`, if it runs, then clean again; see `nadir doctor servers`",
        ) from error
