"""The same work on a Dask cluster that somebody else runs: shards of items instead of chunks.

Each shard is worked on in a process of its own beside the Dask worker, as on one machine, so a file
that crashes or hangs a decoder costs that file and not the cluster's worker. Dask itself takes care
of workers that are lost with their machine.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, TypeVar

from nadir.compute.process_pool import Loss, in_chunks, map_in_processes
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from distributed import Client

Item = TypeVar("Item")
Result = TypeVar("Result")

WHERE = "params.yaml compute.dask_scheduler"
_CONNECT_S = 10
_AHEAD = 2
"""Shards in flight for each thread of the cluster."""
_CHUNK = 32


def map_on_cluster(
    function: Callable[[Item], Result],
    shards: Iterable[Sequence[Item]],
    *,
    scheduler: str,
    limit_s: float,
    lost: Callable[[Item, Loss], Result],
    probe: Callable[[], object],
) -> Iterator[tuple[Sequence[Item], list[Result]]]:
    """Yield (items, results) shard by shard, in the order they are finished.

    Args:
        function: Called with one item; must pickle, and mean the same on the cluster's machines.
        shards: The items, many at a time: starting a process for a shard takes about a second.
        scheduler: Address, such as `tcp://10.0.0.5:8786`.
        limit_s: Seconds of work one item may take.
        lost: The result for an item that was never finished; must pickle.
        probe: Called once on every worker before anything else; what it raises is why that worker
            cannot take part.

    Raises:
        NadirError: The scheduler does not answer, has no workers, or one of them fails the probe.
    """
    from distributed import as_completed

    client = _connect(scheduler)
    try:
        threads = _threads(client, scheduler)
        _probe(client, probe)
        waiting = iter(shards)
        running: dict[Any, Sequence[Item]] = {}
        finished = as_completed(loop=client.loop)
        while True:
            for shard in itertools.islice(waiting, _AHEAD * threads - len(running)):
                future = client.submit(_work, function, shard, limit_s, lost, pure=False)
                running[future] = shard
                finished.add(future)
            if not running:
                return
            future = next(finished)
            shard = running.pop(future)
            yield shard, _result(future, function, shard, limit_s, lost)
    finally:
        client.close()


def _work(
    function: Callable[[Item], Result],
    shard: Sequence[Item],
    limit_s: float,
    lost: Callable[[Item, Loss], Result],
) -> list[Result]:
    """One shard, in one process; what a Dask worker runs."""
    found: dict[Any, Result] = {}
    chunks = in_chunks(range(len(shard)), _CHUNK)
    numbered = ([(index, shard[index]) for index in chunk] for chunk in chunks)
    call, miss = _Numbered(function), _Numbered(lost)
    for _, results in map_in_processes(call, numbered, workers=1, limit_s=limit_s, lost=miss):
        found.update(results)
    return [found[index] for index in range(len(shard))]


class _Numbered:
    """A function over (number, item, ...) that keeps the number: results come in any order."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, numbered: tuple[int, Any], *more: Any) -> tuple[int, Any]:
        number, item = numbered
        return number, self._function(item, *more)


def _result(
    future: Any,
    function: Callable[[Item], Result],
    shard: Sequence[Item],
    limit_s: float,
    lost: Callable[[Item, Loss], Result],
) -> list[Result]:
    from distributed import KilledWorker

    try:
        results: list[Result] = future.result()
    except KilledWorker:
        # Worker after worker went away with it, so this machine takes it.
        results = _work(function, shard, limit_s, lost)
    return results


def _connect(scheduler: str) -> Client:
    from distributed import Client

    try:
        return Client(scheduler, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise NadirError(
            f"no Dask scheduler answers at {scheduler} ({_first_line(error)})",
            where=WHERE,
            fix="start one (`dask scheduler`), correct the address, or set it to null to work on "
            "this machine",
        ) from error


def _threads(client: Client, scheduler: str) -> int:
    workers = client.scheduler_info(n_workers=-1)["workers"]
    if not workers:
        raise NadirError(
            f"the Dask scheduler at {scheduler} has no workers",
            where=WHERE,
            fix=f"start some (`dask worker {scheduler}`), or set it to null to work on this "
            "machine",
        )
    return sum(int(worker["nthreads"]) for worker in workers.values())


def _probe(client: Client, probe: Callable[[], object]) -> None:
    answers = client.run(probe, on_error="return")
    for worker, answer in sorted(answers.items()):
        if isinstance(answer, Exception):
            raise NadirError(
                f"the Dask worker {worker} cannot take part: {_first_line(answer)}",
                where=WHERE,
                fix="install this version of Nadir there, and mount the images at the same path",
            ) from answer


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
