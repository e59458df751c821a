"""One trainer per folder, and a trainer that stops when it is asked to."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING, Self

from nadir.ground.errors import NadirError
from nadir.ground.locks import LockedError, exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import FrameType


@contextlib.contextmanager
def exclusive(path: Path, *, when: bool = True) -> Iterator[None]:
    """Hold the lock file `path` inside the block.

    The kernel drops the lock with the process, so a killed one leaves none behind.

    Args:
        path: The lock file, made if missing; holds the process id of its holder.
        when: False takes no lock.

    Raises:
        NadirError: Another process holds it.
    """
    if not when:
        yield
        return
    try:
        with exclusive_lock(path):
            yield
    except LockedError as error:
        raise NadirError(
            f"another process (pid {error.holder or 'unknown'}) is training here",
            where=str(path.parent),
            fix="wait for it, or end it (`kill` lets it save first), then run again",
        ) from None


class StoppedError(NadirError):
    """Training ended early because it was asked to; its state is saved."""


class StopRequest:
    """Becomes true when SIGINT or SIGTERM arrives; repeated signals change nothing.

    A context manager for the main thread.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, signal.Handlers | object] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal protocol
        self.requested = True

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
