"""One pipeline per workspace."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil

from nadir.ground.errors import NadirError
from nadir.ground.locks import LockedError, exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOKS = 5


class WorkspaceTakenError(NadirError):
    """Another pipeline, or a stage that one left behind, is at work here."""


@contextlib.contextmanager
def workspace_lock(path: Path) -> Iterator[int]:
    """Hold an exclusive lock on a file; yields its descriptor, which stages inherit.

    Because DVC keeps the descriptor too, the lock outlives a killed pipeline for as long as its
    stage still runs, and no second pipeline writes the same outputs.

    Raises:
        WorkspaceTakenError: Another pipeline, or the stage of a killed one, holds it.
    """
    try:
        with exclusive_lock(path, looks=_LOOKS) as handle:
            yield handle
    except LockedError as error:
        raise _taken(path, error.holder) from None


def _taken(path: Path, holder: int | None) -> WorkspaceTakenError:
    if holder is not None and psutil.pid_exists(holder):
        return WorkspaceTakenError(
            f"another pipeline (process {holder}) runs in this workspace",
            where=str(path),
            fix="wait for it to end, or stop it with Ctrl-C; a second clone may run beside it",
        )
    return WorkspaceTakenError(
        "a stage of a pipeline that was killed still runs and is saving its work",
        where=str(path),
        fix="wait until it has ended (see work/logs), then run the same command again",
    )
