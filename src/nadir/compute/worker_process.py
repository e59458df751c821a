"""One worker process of a pool, seen from its parent: what it holds, is at, and why it ended."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import psutil

from nadir.compute.worker import BEGINS

if TYPE_CHECKING:
    from collections.abc import Sequence

Item = TypeVar("Item")

_PROGRAM = "from nadir.compute.worker import main; main()"
_WAITS = 10
"""Times the limit that an item may take without working, on a busy machine or a slow disk."""
_DYING_S = 10.0


def kept_memory() -> dict[str, str]:
    """Settings of glibc and Pillow under which one image's memory serves the next, as variables.

    Otherwise it goes back to the system each time, which clears every page of it anew: a fifth of
    what a WebP costs. A worker keeps 96 MiB at most while it has no image.
    """
    settings = {"MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_TRIM_THRESHOLD_": 1 << 26}
    # Blocks of 16 MiB.
    settings["PILLOW_BLOCKS_MAX"] = 2
    return {name: str(value) for name, value in settings.items()}


class WorkerProcess(Generic[Item]):
    """One process and the chunks it holds.

    Args:
        program: Pickled: the parent's `sys.path`, and the function that gets each item.
        lock: Descriptor of the file that workers lock to be alone.

    Attributes:
        connection: To the process; closed from its end when it is dead.
        chunks: What it holds, the oldest first.
    """

    def __init__(self, program: tuple[bytes, bytes], lock: int) -> None:
        self.connection, theirs = multiprocessing.Pipe()
        self._beats, beats = os.pipe()
        os.set_blocking(self._beats, False)
        given = (theirs.fileno(), beats, lock)
        command = [sys.executable, "-c", _PROGRAM, *(str(descriptor) for descriptor in given)]
        self._process = subprocess.Popen(
            command, pass_fds=given, stdin=subprocess.DEVNULL, env=kept_memory() | os.environ
        )
        theirs.close()
        os.close(beats)
        self.chunks: deque[Sequence[Item]] = deque()
        self._begun = 0
        self._done = 0
        self._heard = time.monotonic()
        self._worked_s = 0.0
        self._outbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()
        for part in program:
            self._outbox.put(part)

    def give(self, chunk: Sequence[Item]) -> None:
        """Add a chunk to what it holds."""
        self.chunks.append(chunk)
        self._outbox.put(pickle.dumps(list(chunk), pickle.HIGHEST_PROTOCOL))

    def _send(self) -> None:
        """Send the outbox, up to an empty message.

        A thread of its own: a chunk that fills the pipe is sent only when the worker reads it, and
        a worker at work does not. It may be sending an answer that somebody must take from it, or
        hang at an item that somebody must end.
        """
        # A worker that died shows when its answer is waited for.
        with contextlib.suppress(OSError):
            while message := self._outbox.get():
                self.connection.send_bytes(message)

    def answer(self) -> Any:
        """The answer to the oldest chunk; None when the process is dead."""
        try:
            answer = self.connection.recv()
        except (EOFError, OSError):
            return None
        self._done += len(self.chunks.popleft())
        return answer

    def at(self) -> int | None:
        """Position in its oldest chunk of the item that it has begun; None before it begins."""
        with contextlib.suppress(BlockingIOError):
            while beats := os.read(self._beats, 1 << 16):
                self._begun += beats.count(BEGINS)
                self._heard, self._worked_s = time.monotonic(), self._processor_s()
        # Beats count items over all chunks; answers tell how many of them belong to chunks that are
        # finished. The difference is the place in the oldest chunk.
        position = self._begun - self._done - 1
        return position if position >= 0 else None

    def is_overdue(self, limit_s: float) -> bool:
        """Whether it has been at one item for too long."""
        if self.at() is None:
            return False
        waited_s = time.monotonic() - self._heard
        if waited_s < limit_s:
            return False
        # At work beyond the limit, by its processor's clock; or, after ten times the limit on the
        # wall's, waiting for what never comes.
        return self._processor_s() - self._worked_s > limit_s or waited_s > _WAITS * limit_s

    def _processor_s(self) -> float:
        with contextlib.suppress(psutil.Error):
            times = psutil.Process(self._process.pid).cpu_times()
            return float(times.user + times.system)
        return self._worked_s

    def was_killed(self) -> bool:
        """Whether the system ended it, once its connection is closed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(_DYING_S) == -signal.SIGKILL
        return False

    def end(self) -> None:
        """Kill the process and wait for its end, so that none is left as a zombie."""
        self._process.kill()
        self._process.wait()
        # Nobody is at the other end now, so what is still being sent fails.
        self._outbox.put(b"")
        self._sender.join()
        self.connection.close()
        os.close(self._beats)
