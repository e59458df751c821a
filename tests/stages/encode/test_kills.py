"""kill -9 at a random moment of `encode`, run again: the index and latents as without it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
import torch
from PIL import Image
from tests.encode_project import PLACE, assert_equal, describe, edit, latents, read_index
from tests.training_project import make_base

from nadir.data.latent_checks import verify
from nadir.data.latents import LatentStore

IMAGES = 150
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


def kill(project: Path, span_s: float, chance: random.Random, processes: int) -> bool:
    """Start the stage and kill it, alone or with its group; whether it was at work."""
    edit(project, "processes: 1", f"processes: {processes}")
    with start() as process:
        if processes > 1:  # the others load their libraries first
            while process.poll() is None and not LatentStore(project / "work/latents").shards():
                time.sleep(0.02)
        time.sleep(chance.uniform(0, span_s))
        hit = process.poll() is None
        family = psutil.Process(process.pid).children(recursive=True) if hit else []
        alone = chance.random() < 0.5
        if hit and alone:
            process.kill()
        elif hit:
            os.killpg(process.pid, signal.SIGKILL)
        _, alive = psutil.wait_procs(family, timeout=20)
        assert not alive
    edit(project, f"processes: {processes}", "processes: 1")
    return hit


def kill_often(project: Path, times: int, seed: int) -> int:
    """How many of the kills hit."""
    (index, expected), span_s = finish(project)
    chance, hits = random.Random(seed), 0
    for number in range(times):
        if number % 2 or chance.random() < 0.7:
            shutil.rmtree(project / "work")
            shutil.rmtree(project / "data/latents")
        hits += kill(project, span_s, chance, processes=1 + number % 2)
        (found_index, found), _ = finish(project)
        assert found_index == index
        assert_equal(found, expected)
        assert not list((project / "work/latents").glob(".*.tmp"))
    return hits


def test_two_kills_change_nothing(project: Path) -> None:
    assert kill_often(project, 2, seed=4) >= 1


@pytest.mark.evidence
def test_twenty_kills_change_nothing(project: Path) -> None:
    assert kill_often(project, 20, seed=5) >= 15
