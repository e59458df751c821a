"""Training processes that are forked from one that has loaded the libraries, as ranks."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.training.test_trainer import FINGERPRINT

from nadir.training.main import main
from nadir.training.train_step import TrainStep

Kill = tuple[int | None, signal.Signals]
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["nadir.training.main"])


def train_in_ranks(
    work: str,
    *,
    ranks: int = 2,
    kill_at: int | None = None,
    killed: Sequence[int] = (0, 1),
    number: signal.Signals = signal.SIGKILL,
    check: bool = False,
) -> list[int | None]:
    """Train the project at the working directory; gives the exit codes.

    Args:
        work: The run's folder, below the working directory.
        ranks: Processes.
        kill_at: The step, from 0, before which some get a signal.
        killed: Ranks that do.
        number: The signal.
        check: Only `nadir train --check`.
    """
    kills = [(kill_at if rank in killed else None, number) for rank in range(ranks)]
    started = start_ranks(work, kills, ["--check"] if check else [])
    for process in started:
        process.join(300)
        process.kill()
    return [process.exitcode for process in started]


def start_ranks(work: str, kills: Sequence[Kill], arguments: Sequence[str] = ()) -> list[Any]:
    """The processes, started.

    Args:
        work: The run's folder, below the working directory.
        kills: For each process the step before which it gets a signal, and which.
        arguments: More of the command line.
    """
    ranks = len(kills)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    places = [
        {
            **{name: str(rank) for name in ("RANK", "LOCAL_RANK")},
            **{name: str(ranks) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")},
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        for rank in range(ranks)
    ]
    started = [
        FORKS.Process(
            target=_rank,
            args=(
                str(Path.cwd()),
                ["--work", work, "--fingerprint", FINGERPRINT, *arguments],
                place,
                kill,
            ),
        )
        for place, kill in zip(places, kills, strict=True)
    ]
    for process in started:
        process.start()
    return started


def _rank(folder: str, arguments: list[str], place: dict[str, str], kill: Kill) -> None:
    os.chdir(folder)
    os.environ |= {"NADIR_TRACKING": "none", "OMP_NUM_THREADS": "1"}
    if place["WORLD_SIZE"] != "1":
        os.environ |= place
    _kill_at(*kill)
    main(arguments)


def _kill_at(step: int | None, signal_number: signal.Signals) -> None:
    real = TrainStep.step

    def dies(self: TrainStep, number: int, *rest: Any) -> Any:
        if number == step:
            os.kill(os.getpid(), signal_number)
        return real(self, number, *rest)

    TrainStep.step = dies  # type: ignore[method-assign]
