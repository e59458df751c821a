"""kill -9 at a random moment of two processes with shares of a model: nothing is lost."""

from __future__ import annotations

import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.kills import record, until_it_hits
from tests.training.sharding.ranks import start_ranks
from tests.training.sharding.test_fsdp import held
from tests.training.test_trainer import QUIET, change_params

KILLS = 4
USUAL = QUIET | {"steps": 20, "checkpoint_every": 2, "optimizer": "adamw", "parallel": "fsdp"}
LIVE = (None, signal.SIGKILL)
WORK = Path("w")


def finish() -> tuple[dict[str, Any], float]:
    """What a training holds at its end, by process and name, and the seconds it took."""
    begun = time.monotonic()
    for process in start_ranks(str(WORK), [LIVE, LIVE]):
        process.join()
        assert process.exitcode == 0
    return held(WORK), time.monotonic() - begun


def kill(within_s: float, chance: random.Random, count: int) -> bool:
    """Start anew and kill so many, the first before the second; whether they were at work."""
    shutil.rmtree(WORK, ignore_errors=True)
    processes = start_ranks(str(WORK), [LIVE, LIVE])
    time.sleep(chance.uniform(within_s / 2, within_s))  # before, little more than loading
    for process in processes[:count]:
        process.kill()
    for process in processes:
        process.join()
    return bool(processes[0].exitcode == -signal.SIGKILL)


@pytest.mark.evidence
def test_kills_of_two_processes_change_nothing(project: Path) -> None:
    chance, saved = random.Random(7), 0
    change_params(**USUAL)
    finish()  # after it the libraries are loaded
    shutil.rmtree(WORK)
    undisturbed, span_s = finish()
    for number in range(KILLS):
        until_it_hits(partial(kill, chance=chance, count=1 + number % 2), span_s)
        saved += any(WORK.glob("checkpoints/rank-1-of-2/step-*"))
        assert finish()[0] == undisturbed
    compared = (
        "both processes' shares of weights, average and optimizer, and the losses of all steps, to "
        f"the bit. All kills come in the second half of the span, and {saved} came after a first "
        "checkpoint"
    )
    record(
        "train, a model shared by two processes",
        kills=KILLS,
        alone=KILLS // 2,
        span_s=span_s,
        compared=compared,
    )
