"""A pipeline begins: it holds the workspace, and what an ended one left is put in order."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.exposition import metrics_place
from nadir.pipeline.processes.lock import workspace_lock
from nadir.pipeline.record import pipeline_folder, runs_folder
from nadir.pipeline.session import Session
from nadir.pipeline.storage.cached_damage import mend_listings
from nadir.pipeline.storage.torn_files import mend_torn_files
from nadir.tracking.runs.journal import catch_up
from nadir.tracking.runs.pipeline_run import RunStatus, close_abandoned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from nadir.pipeline.processes.process import StageResult


@contextlib.contextmanager
def open_session(
    root: Path,
    *,
    until: str | None,
    flow_run_id: str,
    name: str,
    earlier: Mapping[str, StageResult] | None = None,
) -> Iterator[Session]:
    """A session that holds the workspace, and is closed with what became of it.

    Args:
        root: The project's root.
        until: Run only this stage and what it needs; None runs all and registers.
        flow_run_id: Prefect's id of the flow run.
        name: The flow run's name, which its MLflow run gets too.
        earlier: Results of stages that the same command ran before this session.

    Raises:
        NadirError: Another pipeline holds the workspace, `until` is not a stage, or
            `NADIR_METRICS` names no place.
    """
    metrics_place()  # a wrong one is told before anything runs
    with workspace_lock(pipeline_folder(root) / "lock") as lock:
        mend_torn_files(root)
        _close_abandoned(root)
        mend_listings(root)
        session = Session(
            root, until=until, flow_run_id=flow_run_id, name=name, lock=lock, earlier=earlier
        )
        status: RunStatus = "KILLED"
        try:
            yield session
            status = "FINISHED"
        except Exception:
            status = "FAILED"
            raise
        finally:
            try:
                session.close(status)
            except NadirError:
                # After a failure, the first fault is the one to tell.
                if status == "FINISHED":
                    raise


def _close_abandoned(root: Path) -> None:
    """A store that is away now stops no pipeline; the next one closes them."""
    with contextlib.suppress(NadirError):
        catch_up(root)
        close_abandoned(runs_folder(root), root)
