"""Threads for work that leaves Python: numpy's and Arrow's sorting, counting and picking."""

from __future__ import annotations

import os
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from typing import TypeVar

    Item = TypeVar("Item")
    Result = TypeVar("Result")


def on_all_cores(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """What `function` makes of each item, in their order, in as many threads as there are cores.

    Items are taken in the caller's thread, no more of them at a time than there are threads, so
    memory does not grow with their number. What `function` or the items raise is raised here.

    Args:
        function: Spends its time outside of Python's lock.
        items: May be endless.
        threads: Other than one for each core that this process may use.
    """
    threads = threads or len(os.sched_getaffinity(0))
    running: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            if len(running) == threads:
                yield running.popleft().result()
            running.append(pool.submit(function, item))
        while running:
            yield running.popleft().result()


def one_ahead(items: Iterable[Item]) -> Iterator[Item]:
    """The same items, of which the next is made in a thread while the caller is at work on one.

    What the items raise is raised here.

    Args:
        items: Spend their time outside of Python's lock.
    """
    source, end = iter(items), object()
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, source, end)
        while (item := following.result()) is not end:
            following = pool.submit(next, source, end)
            yield item  # type: ignore[misc]
            del item
