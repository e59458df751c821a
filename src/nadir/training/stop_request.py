"""One trainer per folder, and a trainer that stops when it is asked to."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from typing import TYPE_CHECKING, Self

from nadir.ground.errors import NadirError
from nadir.ground.locks import LockedError, exclusive_lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
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

    is_consequence = True  # the others of several processes are stopped when one has failed


class StoppedTogetherError(StoppedError):
    """All processes have ended after the same step.

    So none waits for another, and torchrun has no failure to report in forty lines.
    """

    exit_status = 0


def stopped_early() -> StoppedError:
    """The end of a training that was asked to stop while it waited for other processes."""
    return StoppedError(
        "stopped on request before the first step",
        where="train",
        fix="run the same command again; it goes on from the last checkpoint, if there is one",
    )


class StopRequest:
    """Becomes true when SIGINT or SIGTERM arrives; repeated signals change nothing.

    A context manager for the main thread.

    Args:
        is_last: Whether the process ends with the block. A request that is repeated then, as the
            launcher's is, would kill it on its way out.
    """

    def __init__(self, *, is_last: bool = False) -> None:
        self.requested = False
        self._is_last = is_last
        self._before: dict[signal.Signals, signal.Handlers | object] = {}

    def _note(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 - signal protocol
        self.requested = True

    def __enter__(self) -> Self:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._before.items():
            kept = signal.SIG_IGN if self._is_last and self.requested else handler
            signal.signal(number, kept)  # type: ignore[arg-type]


@contextlib.contextmanager
def ends_at_a_stop(stop: StopRequest, last_act: Callable[[], None]) -> Iterator[None]:
    """Inside the block a request to stop ends this process at once with status 1.

    For waits inside a library, such as for other processes that never come: Python runs signal
    handlers between its own instructions only, so nothing is noted there. The signal's number is
    written to a pipe at once, though, and a thread reads it.

    Args:
        stop: Entered already.
        last_act: Called before the end.
    """

    def end() -> None:
        last_act()
        os._exit(1)

    def watch() -> None:
        while numbers := os.read(reader, 64):
            if {signal.SIGINT, signal.SIGTERM} & set(numbers):
                end()

    reader, writer = os.pipe()
    os.set_blocking(writer, False)  # a handler must never wait
    watcher = threading.Thread(target=watch, daemon=True)
    before = signal.set_wakeup_fd(writer)
    watcher.start()
    try:
        if stop.requested:
            end()
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)
        watcher.join()
        os.close(reader)
