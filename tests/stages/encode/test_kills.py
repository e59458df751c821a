"""kill -9 at a random moment of `encode`, run again: the index and latents as without it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tests.support.encode_project import PLACE, assert_equal, describe, edit, latents, read_index
from tests.support.kills import record, until_it_hits
from tests.support.training_project import make_base

from nadir.data.latents.checks import verify
from nadir.data.latents.store import LatentStore

IMAGES, KILLS = 150, 20
# Loading the libraries is not what is to be killed.
STAGE = """
from nadir.stages.encode import main
print("ready", flush=True)
main()
"""
Result = tuple[pa.Table, dict[str, torch.Tensor]]


@pytest.fixture
def project(tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Images whose latents fill a shard by threes."""
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params_text, encoding="utf-8")
    edit(
        tmp_path, "batch_size: 32\n  shard_bytes: 268435456", "batch_size: 2\n  shard_bytes: 65536"
    )
    make_base(tmp_path / "models/base")
    folder = tmp_path / "data/sample"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number in range(IMAGES):
        height = 256 if number % 2 else 240
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8, 3), dtype=np.uint8))
        coarse.resize((256, height)).save(folder / f"{number}.png")
    describe(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def start() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STAGE], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish(project: Path) -> tuple[Result, float]:
    """What a whole run gives, and the seconds it took."""
    with start() as process:
        begun = time.monotonic()
        process.communicate()
        assert process.returncode == 0
    assert verify(LatentStore(project / "work/latents"), project / "data/latents").faults == ()
    return (read_index(project).drop_columns(PLACE), latents(project)), time.monotonic() - begun


def kill(
    within_s: float, project: Path, chance: random.Random, *, alone: bool, fresh: bool
) -> bool:
    """Start the stage and kill it, alone or with its group; whether it was at work."""
    if fresh:
        shutil.rmtree(project / "work", ignore_errors=True)
        shutil.rmtree(project / "data/latents", ignore_errors=True)
    several = "processes: 2" in (project / "params.yaml").read_text()
    with start() as process:
        if several:  # the others load their libraries first
            while process.poll() is None and not LatentStore(project / "work/latents").shards():
                time.sleep(0.02)
        time.sleep(chance.uniform(0, within_s))
        family: list[psutil.Process] = []
        if process.poll() is None:
            family = psutil.Process(process.pid).children(recursive=True)
            process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=120)
        assert not alive
        return process.wait() == -signal.SIGKILL


def kill_often(project: Path, times: int, seed: int) -> tuple[int, float]:
    """How many of the kills were of the first process alone, and an undisturbed run's seconds."""
    (index, expected), span_s = finish(project)
    chance, sparing = random.Random(seed), 0
    for number in range(times):
        several = number % 2 == 1
        how = {"alone": chance.random() < 0.5, "fresh": several or chance.random() < 0.7}
        edit(project, "processes: 1", f"processes: {1 + several}")
        until_it_hits(partial(kill, project=project, chance=chance, **how), span_s)
        edit(project, f"processes: {1 + several}", "processes: 1")
        (found_index, found), _ = finish(project)
        assert found_index == index
        assert_equal(found, expected)
        assert not list((project / "work/latents").glob(".*.tmp"))
        sparing += how["alone"]
    return sparing, span_s


def test_two_kills_at_work_change_nothing(project: Path) -> None:
    kill_often(project, 2, seed=4)


@pytest.mark.evidence
def test_twenty_kills_at_work_change_nothing(project: Path) -> None:
    alone, span_s = kill_often(project, KILLS, seed=5)
    compared = (
        f"`data/latents/index.parquet` but for the place of a row, and the latents of {IMAGES} "
        "images to the bit; the shards are whole, and no temporary file is left. Every other kill "
        "is of a run in two processes"
    )
    record("encode", kills=KILLS, alone=alone, span_s=span_s, compared=compared)
