"""A function over many items in worker processes; one that dies or hangs costs an item only.

Decoders are C code that may crash or never return, so a worker says before each item that it begins
(`nadir.compute.worker`). The parent thus knows which item a dead worker was at, and ends a worker
that has been at one for too long; everything else in its hands goes to another worker. SIGKILL is
the system's, where memory is short, and not the item's fault: fewer workers then go on, with it.
"""

from __future__ import annotations

import os
import pickle
import sys
import tempfile
from collections import deque
from multiprocessing import connection
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from nadir.compute.worker_process import WorkerProcess
from nadir.ground.errors import NadirError, less_memory
from nadir.ground.events import say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")
Loss = Literal["crashed", "timed_out"]
"""How an item was lost: its worker died, or was ended because it took too long."""

_AHEAD = 2
"""Chunks a worker holds, so that it need not wait for the next."""
_MOST_FAILED_STARTS = 3


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
        lost: The result for an item that was never finished. One whose worker the system killed is
            tried again, with a worker less, and a last time by the only one.

    Raises:
        RuntimeError: Workers end before they begin, whatever the item.
        NadirError: The system kills them before they begin.
    """
    program = (pickle.dumps(sys.path), pickle.dumps(function))
    pool = _Pool[Item](iter(chunks), workers or usable_cores(), program, limit_s)
    try:
        while pool.hand_out():
            for chunk, results, loss in pool.wait():
                yield chunk, [lost(item, loss) for item in chunk] if loss else results
    finally:
        pool.end()


def usable_cores() -> int:
    """Cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


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
        self._workers: list[WorkerProcess[Item]] = []
        self._failed_starts = 0
        self._last_tries: list[Sequence[Item]] = []

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

    def _at_work(self) -> Iterator[WorkerProcess[Item]]:
        """The workers, those included that are not there yet and are started when asked for."""
        yield from list(self._workers)
        while len(self._workers) < self._size:
            self._workers.append(WorkerProcess(self._program, self._lock.fileno()))
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
        self, worker: WorkerProcess[Item], loss: Loss
    ) -> Iterator[tuple[Sequence[Item], list[Any], Loss | None]]:
        """Take back what a worker held, all but the item it was at."""
        position = worker.at()
        was_killed = loss == "crashed" and worker.was_killed()
        # Out of the list first: `hand_out` then starts another in its place.
        self._workers.remove(worker)
        worker.end()
        held = list(worker.chunks)
        if position is not None:
            chunk, self._failed_starts = held[0], 0
            # What stood before the item was done, but its results died with the worker: they are
            # sent with the whole chunk. So it is done again, like what stands behind.
            held[:1] = [chunk[:position], chunk[position + 1 :]]
            if was_killed and self._may_try_again(chunk):
                held.append(self._again(chunk[position : position + 1]))
            else:
                yield chunk[position : position + 1], [], loss
        else:
            # It ended before its first item: not an item's fault. Three in a row are the function's
            # or the machine's, and would go on for ever.
            self._failed_starts += 1
            if self._failed_starts >= _MOST_FAILED_STARTS:
                if was_killed:
                    raise _no_room()
                raise RuntimeError("worker processes end before they begin; see what they printed")
        self._returned.extend(chunk for chunk in held if len(chunk))

    def _may_try_again(self, chunk: Sequence[Item]) -> bool:
        return not any(chunk is tried for tried in self._last_tries)

    def _again(self, item: Sequence[Item]) -> Sequence[Item]:
        """An item whose worker was killed, for fewer workers, which leave each more memory."""
        if self._size == 1:
            self._last_tries.append(item)
        self._size = max(1, self._size - 1)
        say(
            "WARNING a worker process was killed (SIGKILL), which the system does where memory is "
            f"short; what it was at is tried again by {self._size} (compute.workers)"
        )
        return item


def _no_room() -> NadirError:
    return NadirError(
        "worker processes are killed (SIGKILL) before they begin, which the system does where "
        "memory is short",
        where="compute.workers",
        fix=f"lower it, {less_memory('')}",
    )


def in_chunks(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """The items, `size` at a time."""
    return (items[start : start + size] for start in range(0, len(items), size))
