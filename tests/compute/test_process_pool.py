"""Worker processes: a crash or a hang costs one item; a Dask cluster does the same work."""

from __future__ import annotations

import itertools
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from tests.support.hostile import encoded, picture
from tests.support.inspecting import inspect_listing
from tests.support.servers import free_port

from nadir.compute.dask_pool import map_on_cluster
from nadir.compute.process_pool import Loss, in_chunks, map_in_processes
from nadir.compute.worker import alone
from nadir.compute.worker_process import kept_memory
from nadir.data.inspection.inspection import Limits
from nadir.data.sources.detect import open_source
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMITS = Limits(1_000_000, 1 << 20, (255, 255, 255))


def times_ten(number: int) -> int:
    return number * 10


def die_on_seven(number: int) -> int:
    if number == 7:
        os._exit(3)  # as a segmentation fault in a decoder would
    return number * 10


def die_or_hang(number: int) -> int:
    if number % 40 == 7:
        os._exit(3)
    if number == 50:
        time.sleep(600)
    while number == 60:
        pass
    return number * 10


def die_of_memory(number: int) -> int:
    """Killed at 3 once, as if others took the memory, and at 5 always."""
    if number == 5 or (number == 3 and not Path("killed").exists()):
        Path("killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number * 10


def variable(name: str) -> str | None:
    return os.environ.get(name)


LOST_OF_100 = {
    7: "crashed 7",
    47: "crashed 47",
    87: "crashed 87",
    50: "timed_out 50",
    60: "timed_out 60",
}
"""What `die_or_hang` costs of 0 to 99."""


def fail(number: int) -> int:
    return number // 0


LONG = "x" * 1000


def tag_path(path: str) -> list[tuple[str, str]]:
    if path.startswith("00700"):
        time.sleep(600)
    return [(f"{path[:5]}_tag_{number}_{LONG[:40]}", "general") for number in range(40)]


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Fail where the block is still busy after so many seconds, whatever it waits for."""

    def stop(*_: object) -> None:
        pytest.fail(f"still busy after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def test_chunks_and_results_that_fill_the_pipe_both_pass_and_a_hang_is_still_ended() -> None:
    paths = [f"{number:05}{LONG}" for number in range(2048)]
    with at_most(60):
        work = map_in_processes(
            tag_path, in_chunks(paths, 256), workers=2, limit_s=0.5, lost=lambda path, loss: loss
        )
        found = {path: result for pair in work for path, result in zip(*pair, strict=True)}
    assert found.pop(paths[700]) == "timed_out"
    assert len(found) == 2047
    assert all(result[39][0].startswith(f"{path[:5]}_tag_39") for path, result in found.items())


def test_a_kill_by_the_system_is_not_the_items_fault_unless_it_is_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    work = map_in_processes(
        die_of_memory,
        in_chunks(range(8), 2),
        workers=2,
        limit_s=60,
        lost=lambda number, loss: f"{loss} {number}",
    )
    found = {number: result for pair in work for number, result in zip(*pair, strict=True)}
    assert found == {number: number * 10 for number in range(8)} | {5: "crashed 5"}
    assert capsys.readouterr().out.count("is tried again by 1 (compute.workers)") == 2


class UnspeakableError(Exception):
    def __init__(self, one: int, other: int) -> None:
        super().__init__("an error that does not pickle")


def fail_strangely(number: int) -> int:
    raise UnspeakableError(number, number)


def lose(number: int, loss: Loss) -> int | str:
    return f"{loss} {number}"


def done(
    function: Callable[[int], object], count: int, *, limit_s: float = 60
) -> dict[int, object]:
    work = map_in_processes(
        function, in_chunks(range(count), 16), workers=2, limit_s=limit_s, lost=lose
    )
    found = [pair for chunk, results in work for pair in zip(chunk, results, strict=True)]
    assert len(found) == count
    return dict(found)


def test_every_item_has_its_result() -> None:
    assert done(times_ten, 200) == {number: number * 10 for number in range(200)}
    assert done(times_ten, 0) == {}


def test_a_worker_that_dies_costs_one_item() -> None:
    found = done(die_on_seven, 100)
    assert found == {n: "crashed 7" if n == 7 else n * 10 for n in range(100)}


def test_hangs_and_crashes_cost_their_items_and_nothing_else() -> None:
    found = done(die_or_hang, 100, limit_s=0.5)
    assert found == {n: LOST_OF_100.get(n, n * 10) for n in range(100)}


def test_what_a_worker_raises_is_raised_with_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        done(fail, 2)
    assert "number // 0" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="an error that does not pickle"):
        done(fail_strangely, 2)


def sleep_a_little(number: int) -> int:
    time.sleep(0.7)
    return number * 10


def test_an_item_that_only_waits_has_ten_times_as_long() -> None:
    """On a busy machine the clock goes on while nothing is worked; that is nobody's fault."""
    assert done(sleep_a_little, 2, limit_s=0.2) == {0: 0, 1: 10}


def test_workers_that_cannot_begin_are_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with pytest.raises(RuntimeError, match="end before they begin"):
        done(times_ten, 5)


def use_much(_number: int) -> tuple[float, float]:
    with alone():
        began = time.monotonic()
        time.sleep(0.4)
        return began, time.monotonic()


def test_only_one_worker_at_a_time_is_alone_and_waiting_is_not_being_slow() -> None:
    spans = sorted(
        result
        for _, results in map_in_processes(
            use_much, in_chunks(range(6), 1), workers=3, limit_s=0.1, lost=lose
        )
        for result in results
    )
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert len(spans) == 6


SLEEPER = """
import os, sys, time
from nadir.compute.process_pool import map_in_processes
from sleeping import sleep

list(map_in_processes(sleep, [[1]], workers=1, limit_s=60, lost=int))
"""
SLEEPING = """
import os, time

def sleep(number):
    print(os.getpid(), flush=True)
    time.sleep(60)
"""


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    (tmp_path / "sleeping.py").write_text(SLEEPING)
    command = [sys.executable, str(tmp_path / "sleeper.py")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        worker.wait(timeout=120)


def test_workers_are_gone_when_the_work_is_left_in_the_middle() -> None:
    work = map_in_processes(times_ten, in_chunks(range(500), 2), workers=2, limit_s=9, lost=lose)
    next(work)
    assert len(workers_of_this_process()) == 2
    work.close()
    assert workers_of_this_process() == []


def workers_of_this_process() -> list[psutil.Process]:
    children = psutil.Process().children()
    return [child for child in children if "nadir.compute.worker" in " ".join(child.cmdline())]


@contextmanager
def dask_cluster(folder: Path, workers: int, environment: dict[str, str]) -> Iterator[str]:
    """A scheduler and worker processes as a user would start them, on loopback; its address."""
    address = f"tcp://127.0.0.1:{free_port()}"
    host, port = address.removeprefix("tcp://").split(":")
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    commands = [[*dask, "--host", host, "--port", port, "--no-dashboard"]]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--host", host]
    worker += ["--nthreads", "1", "--no-dashboard", "--local-directory", str(folder)]
    commands += [worker] * workers
    started = [
        subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for command in commands
    ]
    try:
        yield address
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=120)


@pytest.fixture(scope="module")
def cluster(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    from distributed import Client

    root = str(request.config.rootpath)
    environment = {**os.environ, "PYTHONPATH": root}
    with dask_cluster(tmp_path_factory.mktemp("dask"), 2, environment) as address:
        with Client(address, timeout=300, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=300)
        yield address


def test_a_cluster_finds_what_one_machine_finds(cluster: str, tmp_path: Path) -> None:
    from distributed import Client

    folder = tmp_path / "images"
    folder.mkdir()
    for index in range(30):
        (folder / f"{index:02}.png").write_bytes(encoded(picture(index), "PNG"))
    (folder / "30.png").write_bytes(b"nothing")
    source = open_source(str(folder), "folder")
    listing = source.list_images().table

    def found(name: str, scheduler: str | None) -> list[object]:
        result = inspect_listing(
            listing,
            source,
            limits=LIMITS,
            memory=tmp_path / name,
            workers=1,
            scheduler=scheduler,
        )
        assert result.looked_at == 31
        return result.facts.to_pylist()

    assert found("here", None) == found("cluster", cluster)
    with Client(cluster, set_as_default=False) as client:
        assert client.scheduler_info()["total_threads"] == 2


def test_both_workers_take_part_and_a_crash_or_hang_costs_an_item_there_too(cluster: str) -> None:
    shards = in_chunks(range(100), 20)
    work = map_on_cluster(
        die_or_hang, shards, scheduler=cluster, limit_s=0.5, lost=lose, probe=os.getpid
    )
    found = dict(pair for shard, results in work for pair in zip(shard, results, strict=True))
    assert found == {n: LOST_OF_100.get(n, n * 10) for n in range(100)}
    work = map_on_cluster(
        parent_of, in_chunks(range(8), 1), scheduler=cluster, limit_s=9, lost=lose, probe=os.getpid
    )
    assert len({result for _, results in work for result in results}) == 2


def parent_of(_number: int) -> int:
    return os.getppid()


def test_a_cluster_that_does_not_see_the_images_is_told(cluster: str) -> None:
    work = map_on_cluster(times_ten, [[1]], scheduler=cluster, limit_s=9, lost=lose, probe=blind)
    with pytest.raises(NadirError, match="cannot take part: no such folder") as caught:
        list(work)
    assert "mount the images at the same path" in str(caught.value)


def blind() -> None:
    raise OSError("no such folder")


def test_a_scheduler_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nadir.compute.dask_pool._CONNECT_S", 1)
    address = f"tcp://127.0.0.1:{free_port()}"
    work = map_on_cluster(
        times_ten, [[1]], scheduler=address, limit_s=9, lost=lose, probe=os.getpid
    )
    with pytest.raises(NadirError, match=re.escape(f"no Dask scheduler answers at {address}")) as e:
        list(work)
    assert str(e.value).startswith("params.yaml compute.dask_scheduler: ")
    assert "set it to null" in str(e.value)


def test_workers_keep_memory_from_item_to_item_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PILLOW_BLOCKS_MAX", "0")
    names = list(kept_memory())
    work = map_in_processes(variable, [names], workers=1, limit_s=60, lost=lambda *_: "lost")
    ((_, found),) = work
    assert dict(zip(names, found, strict=True)) == kept_memory() | {"PILLOW_BLOCKS_MAX": "0"}
