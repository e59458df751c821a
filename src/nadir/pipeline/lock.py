"""One pipeline per workspace."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

import psutil

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_LOOKS, _LOOK_S = 5, 0.05


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
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _take(handle):
            raise _taken(path)
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    """Whether the lock is had; `nadir status` holds it for an instant when it looks."""
    for _ in range(_LOOKS):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_LOOK_S)
    return False


def _taken(path: Path) -> WorkspaceTakenError:
    holder = path.read_text(encoding="utf-8").strip()
    if holder.isdigit() and psutil.pid_exists(int(holder)):
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
