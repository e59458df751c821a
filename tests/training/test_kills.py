"""kill -9 at a random moment of a training, run again: all that it holds as without it."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.kills import record, until_it_hits
from tests.training.test_trainer import CONSTANT, FINGERPRINT, QUIET, SMALL, change_params
from tests.training.trainable.test_settings import LORA

from nadir.training.check import snapshot_digests
from nadir.training.main import main
from nadir.training.state import CheckpointStore

KILLS = 20
USUAL = QUIET | {"steps": 30, "checkpoint_every": 2, "optimizer": "adamw"}
WAYS: dict[str, dict[str, Any]] = {
    "fp32, AdamW": {},
    "bf16 with rounding by chance, 8-bit AdamW inside backward": SMALL,
    "LoRA with kept text states": {"adapter": LORA, "text_cache": 2},
    "schedule-free": {"optimizer": "schedule_free", **CONSTANT},
}
WORK = Path("w")
# Loading the libraries is not what is to be killed: a server has loaded them, and forks.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["nadir.training.main"])


def begin(folder: str) -> None:
    """What the child process does."""
    os.chdir(folder)
    os.environ["NADIR_TRACKING"] = "none"
    main(["--work", str(WORK), "--fingerprint", FINGERPRINT])


def start() -> Any:
    process = FORKS.Process(target=begin, args=(str(Path.cwd()),))
    process.start()
    return process


def finish() -> tuple[dict[str, Any], float]:
    """What a training holds at its end, by name, and the seconds it took."""
    begun = time.monotonic()
    process = start()
    process.join()
    assert process.exitcode == 0
    span_s = time.monotonic() - begun
    store = CheckpointStore(WORK / "checkpoints", fingerprint=FINGERPRINT, keep=1, warn=print)
    last = store.latest()
    assert last is not None
    found: dict[str, Any] = dict(snapshot_digests(store.load(last)))
    for name in ("loss.csv", "training.json"):
        found[name] = (WORK / "output" / name).read_bytes()
    return found, span_s


def kill(within_s: float, chance: random.Random) -> bool:
    """Start anew and kill; whether it was at work."""
    shutil.rmtree(WORK, ignore_errors=True)
    process = start()
    time.sleep(chance.uniform(0, within_s))
    process.kill()
    process.join()
    return bool(process.exitcode == -signal.SIGKILL)


@pytest.mark.evidence
def test_twenty_kills_at_work_change_nothing(project: Path) -> None:
    chance, spans, saved = random.Random(7), [], 0
    for changes in WAYS.values():
        change_params(**USUAL | {"adapter": None, "text_cache": None})
        change_params(weights="fp32", mixed_precision="no")
        change_params(**{"step_in_backward": False, "ema_decay": 0.9} | changes)
        shutil.rmtree(WORK, ignore_errors=True)
        undisturbed, span_s = finish()
        spans.append(span_s)
        for _ in range(KILLS // len(WAYS)):
            until_it_hits(partial(kill, chance=chance), span_s)
            saved += any(WORK.glob("checkpoints/step-*"))
            assert finish()[0] == undisturbed
    compared = (
        "weights, average, every number of the optimizer's state, and the losses of all steps, to "
        f"the bit. A quarter of them each: {'; '.join(WAYS)}. {saved} of the kills came after a "
        "first checkpoint"
    )
    span_s = sum(spans) / len(spans)
    record("train", kills=KILLS, alone=KILLS, span_s=span_s, compared=compared)
