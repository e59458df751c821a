"""Requests to stop that would end this process at once and leave its stage running by itself."""

from __future__ import annotations

import contextlib
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

# A closed terminal sends SIGHUP; it stops the pipeline as `kill` does.
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def interrupted_when_told_to_stop() -> Iterator[None]:
    """Inside the block the stop signals raise KeyboardInterrupt; one that `nohup` ignores does not.

    For the main thread.
    """
    heard = [s for s in _STOP_SIGNALS if signal.getsignal(s) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, _interrupt) for number in heard}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
