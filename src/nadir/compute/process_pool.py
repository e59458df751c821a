"""A function over many items in worker processes; one that dies or hangs costs an item only.

Decoders are C code that may crash or never return, so a worker says before each item that it begins
(`nadir.compute.worker`). The parent thus knows which item a dead worker was at, and ends a worker
that has been at one for too long; everything else in its hands goes to another worker.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

import psutil

from nadir.compute.worker import BEGINS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")
Loss = Literal["crashed", "timed_out"]
"""How an item was lost: its worker died, or was ended because it took too long."""

_PROGRAM = "from nadir.compute.worker import main; main()"
_AHEAD = 2
"""Chunks a worker holds, so that it need not wait for the next."""
_MOST_FAILED_STARTS = 3
_WAITS = 10
"""Times the limit that an item may take without working, on a busy machine or a slow disk."""


def map_in_processes(
    function: Callable[[Item], Result],
    chunks: Iterable[Sequence[Item]],
    *,
    workers: int,
    limit_s: float,
    lost: Callable[[Item, Loss], Result],
) -> Iterator[tuple[Sequence[Item], list[Result]]]:
    """Yield (items, results) chunk by chunk, in the order they are finished.

    Args:
        function: Called in a worker with one item; must pickle. What it raises is raised here.
        chunks: The items, some at a time; taken from as workers become free.
        workers: Processes; 0 uses every core.
        limit_s: Seconds of work one item may take, as its processor counts them: how busy the
            machine is decides nothing. Ten times as long on the clock, for one that waits for ever.
        lost: The result for an item that was never finished.

    Raises:
        RuntimeError: Workers end before they begin, whatever the item.
    """
    program = (pickle.dumps(sys.path), pickle.dumps(function))
    pool = _Pool[Item](iter(chunks), workers or usable_cores(), program, limit_s)
    try:
        while pool.hand_out():
            for chunk, results, loss in pool.wait():
                yield chunk, [lost(item, loss) for item in chunk] if loss else results
    finally:
        pool.end()


def kept_memory() -> dict[str, str]:
    """Settings of glibc and Pillow under which one image's memory serves the next, as variables.

    Otherwise it goes back to the system each time, which clears every page of it anew: a fifth of
    what a WebP costs. A worker keeps 96 MiB at most while it has no image.
    """
    settings = {"MALLOC_MMAP_THRESHOLD_": 1 << 25, "MALLOC_TRIM_THRESHOLD_": 1 << 26}
    # Blocks of 16 MiB.
    settings["PILLOW_BLOCKS_MAX"] = 2
    return {name: str(value) for name, value in settings.items()}


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Worker(Generic[Item]):
    """One process and the chunks it holds."""

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

    def end(self) -> None:
        """Kill the process and wait for its end, so that none is left as a zombie."""
        self._process.kill()
        self._process.wait()
        # Nobody is at the other end now, so what is still being sent fails.
        self._outbox.put(b"")
        self._sender.join()
        self.connection.close()
        os.close(self._beats)


class _Pool(Generic[Item]):
    """The workers, and what waits for them."""

    def __init__(
        self,
        chunks: Iterator[Sequence[Item]],
        size: int,
        program: tuple[bytes, bytes],
        limit_s: float,
    ) -> None:
        self._chunks = chunks
        self._returned: deque[Sequence[Item]] = deque()
        self._size = size
        self._program = program
        self._limit_s = limit_s
        # Locks on it are a process's own and end with it.
        self._lock = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._workers: list[_Worker[Item]] = []
        self._failed_starts = 0

    def hand_out(self) -> bool:
        """Give every worker enough to do; false when there is nothing left."""
        # First one chunk for everybody, then a second: near the end no worker sits on work that
        # another one could begin.
        for depth in range(1, _AHEAD + 1):
            for worker in self._at_work():
                if len(worker.chunks) < depth:
                    chunk = self._next()
                    if chunk is None:
                        return any(one.chunks for one in self._workers)
                    worker.give(chunk)
        return True

    def _at_work(self) -> Iterator[_Worker[Item]]:
        """The workers, those included that are not there yet and are started when asked for."""
        yield from list(self._workers)
        while len(self._workers) < self._size:
            self._workers.append(_Worker(self._program, self._lock.fileno()))
            yield self._workers[-1]

    def wait(self) -> Iterator[tuple[Sequence[Item], list[Any], Loss | None]]:
        """What has been finished or lost, after waiting for some of it; may be nothing yet."""
        # A worker is in one of four states. Idle: it holds no chunk. Starting: it holds some, but
        # has not begun an item. At work: its beats say at which item. Ended: its connection is
        # closed, which makes it "ready", and its answer is None.
        busy = {worker.connection: worker for worker in self._workers if worker.chunks}
        # Short enough to see a limit pass in good time, and no shorter, for each look costs work.
        tick = max(0.05, min(1.0, self._limit_s / 4))
        for ready in connection.wait(list(busy), timeout=tick):
            worker = busy.pop(ready)  # type: ignore[call-overload]
            chunk = worker.chunks[0]
            answer = worker.answer()
            if answer is None:
                yield from self._take_back(worker, "crashed")
            elif answer[0] == "raised":
                raise answer[1] from RuntimeError(answer[2])
            else:
                self._failed_starts = 0
                yield chunk, answer[1], None
        # What was ready is no longer in `busy`: an answer that came just in time counts.
        for worker in busy.values():
            if worker.is_overdue(self._limit_s):
                yield from self._take_back(worker, "timed_out")

    def end(self) -> None:
        """End every worker."""
        for worker in self._workers:
            worker.end()
        self._workers = []
        self._lock.close()

    def _next(self) -> Sequence[Item] | None:
        if self._returned:
            return self._returned.popleft()
        return next((chunk for chunk in self._chunks if len(chunk)), None)

    def _take_back(
        self, worker: _Worker[Item], loss: Loss
    ) -> Iterator[tuple[Sequence[Item], list[Any], Loss | None]]:
        """Take back what a worker held, all but the item it was at."""
        position = worker.at()
        # Out of the list first: `hand_out` then starts another in its place.
        self._workers.remove(worker)
        worker.end()
        held = list(worker.chunks)
        if position is not None:
            chunk, self._failed_starts = held[0], 0
            # What stood before the item was done, but its results died with the worker: they are
            # sent with the whole chunk. So it is done again, like what stands behind.
            held[:1] = [chunk[:position], chunk[position + 1 :]]
            yield chunk[position : position + 1], [], loss
        else:
            # It ended before its first item: not an item's fault. Three in a row are the function's
            # or the machine's, and would go on for ever.
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                raise RuntimeError("worker processes end before they begin; see what they printed")
        self._returned.extend(chunk for chunk in held if len(chunk))


def in_chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
