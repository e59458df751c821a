"""Locks between processes of one machine; the kernel drops them with their holder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_LOOK_S = 0.05


class LockedError(OSError):
    """Another process holds the lock.

    Attributes:
        holder: Its process id; None when the lock does not say.
    """

    def __init__(self, holder: int | None) -> None:
        super().__init__(f"held by process {holder or 'unknown'}")
        self.holder = holder


@contextlib.contextmanager
def waiting_lock(path: Path) -> Iterator[None]:
    """Hold a lock file, waiting for it as long as it takes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def shared_lock(path: Path) -> Iterator[None]:
    """Hold a lock file together with any number of others; waits for `exclusive_lock` to end."""
    with path.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        yield


@contextlib.contextmanager
def exclusive_lock(path: Path, *, looks: int = 1) -> Iterator[int]:
    """Hold a lock file alone, and write the process id into it; yields its descriptor.

    A child that inherits the descriptor keeps the lock beyond this process' own end.

    Args:
        path: The lock file, made if missing.
        looks: How often to try, 50 ms apart; who asks `is_held` holds the lock for an instant.

    Raises:
        LockedError: Another process holds it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        if not _take(handle, looks):
            raise LockedError(holder_of(path))
        os.truncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield handle
    finally:
        os.close(handle)


def _take(handle: int, looks: int) -> bool:
    for _ in range(looks):
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        time.sleep(_LOOK_S)
    return False


def holder_of(path: Path) -> int | None:
    """The process id that a lock file names, whether or not that process still holds it."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    return int(text) if text.isdecimal() else None


def is_held(path: Path) -> bool:
    """Whether some process holds the lock file alone."""
    if not path.is_file():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
