"""A function over many items in worker processes; one that dies costs an item, not the run."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")

_CHUNK = 32


def map_in_processes(
    function: Callable[[Sequence[Item]], list[Result]],
    items: Sequence[Item],
    *,
    workers: int,
    lost: Callable[[Item], Result],
    at_least: int = 0,
) -> Iterator[tuple[Sequence[Item], list[Result]]]:
    """Yield (items, results) chunk by chunk, in the order they are finished.

    Args:
        function: Called in a worker with some of the items; must pickle. What it raises is raised.
        items: What to work on.
        workers: Processes; 0 uses every core.
        lost: The result for an item that kills its worker (a crash in a decoder's C code).
        at_least: Fewer items are not worth a process and are worked on in this one.
    """
    if 0 < len(items) < at_least:
        yield items, function(items)
        return
    chunks = iter([items[i : i + _CHUNK] for i in range(0, len(items), _CHUNK)])
    count = min(workers or os.cpu_count() or 1, -(-len(items) // _CHUNK))
    suspects: list[Sequence[Item]] = []
    while first := list(itertools.islice(chunks, 1)):
        yield from _until_it_breaks(function, itertools.chain(first, chunks), count, suspects)
        while suspects:
            chunk = suspects.pop()
            yield chunk, _one_by_one(function, chunk, lost)


def _until_it_breaks(
    function: Callable[[Sequence[Item]], list[Result]],
    chunks: Iterator[Sequence[Item]],
    workers: int,
    suspects: list[Sequence[Item]],
) -> Iterator[tuple[Sequence[Item], list[Result]]]:
    """Work until all is done or a worker dies; then what was in flight goes to `suspects`."""
    running: dict[Future[list[Result]], Sequence[Item]] = {}
    with _pool(workers) as pool:
        while not suspects:
            # Two per worker keep all busy, and leave few suspects when one dies.
            for chunk in itertools.islice(chunks, 2 * workers - len(running)):
                try:
                    running[pool.submit(function, chunk)] = chunk
                except BrokenProcessPool:
                    suspects.append(chunk)
                    break
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                chunk = running.pop(future)
                try:
                    results = future.result()
                except BrokenProcessPool:
                    suspects.append(chunk)
                else:
                    yield chunk, results
        suspects.extend(running.values())


def _one_by_one(
    function: Callable[[Sequence[Item]], list[Result]],
    chunk: Sequence[Item],
    lost: Callable[[Item], Result],
) -> list[Result]:
    results: list[Result] = []
    while len(results) < len(chunk):
        with _pool(1) as pool:
            for item in chunk[len(results) :]:
                try:
                    results += pool.submit(function, [item]).result()
                except BrokenProcessPool:
                    results.append(lost(item))
                    break
    return results


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not fork: pyarrow's threads hold locks that a forked child would wait for.
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_end_with_parent)


def _end_with_parent() -> None:
    """Make this worker end when its parent is killed; by itself it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_wait_for_end, args=(parent.sentinel,), daemon=True).start()


def _wait_for_end(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)
