"""kill -9 at a random moment of `evaluate`, run again: the same bytes as without it."""

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
from tests.support.small_checkpoint import write_base, write_checkpoint, write_holdout

from nadir.config.edit import set_values

OUTPUTS = ("evaluation.parquet", "evaluation.json", "evaluation.csv", "evaluation.html", "samples")
KILLS = 20
SMALL = [
    "evaluate.cfg_scales=[3.5,4.5]",
    "evaluate.steps=2",
    "evaluate.prompts=['1girl, red_hair', 1boy]",
    "evaluate.canvases=[]",
    "evaluate.width_px=32",
    "evaluate.height_px=32",
    "evaluate.seeds=[1,2]",
    "evaluate.holdout_prompts=2",
    "evaluate.batch_size=1",
    "evaluate.loss_images=3",
    "evaluate.max_brightness_error=1.0",
    "compute.device=cpu",
]
# Loading the libraries is not what is to be killed: a server has loaded them, and forks.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["nadir.stages.evaluate"])


def stage(folder: str) -> None:
    """What the child process does."""
    import torch

    from nadir.stages.evaluate import main

    torch.set_num_threads(1)
    os.chdir(folder)
    main()


@pytest.fixture
def project(tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everything that the stage reads; the current folder."""
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, tmp_path / name)
    write_base(tmp_path / "base", root / "params.yaml")
    facts = {"steps": 7, "images": 28, "original_size": [64, 48]}
    checkpoint = tmp_path / "models" / "checkpoint"
    write_checkpoint(checkpoint, tmp_path / "base", root / "params.yaml", **facts)
    write_holdout(tmp_path / "data", images=4)
    monkeypatch.chdir(tmp_path)
    set_values(SMALL)
    return tmp_path


def finish(project: Path) -> tuple[dict[str, bytes], float]:
    """What a whole run gives, and the seconds it took."""
    begun = time.monotonic()
    process = FORKS.Process(target=stage, args=(str(project),))
    process.start()
    process.join()
    assert process.exitcode == 0
    took_s = time.monotonic() - begun
    assert not (project / "work/evaluating").exists(), "what it kept for this case is gone"
    files = [f for f in (project / "reports").rglob("*") if f.is_file()]
    found = {str(f.relative_to(project / "reports")): f.read_bytes() for f in files}
    assert {name.partition("/")[0] for name in found} >= set(OUTPUTS)
    return found, took_s


def kill(project: Path, within_s: float, chance: random.Random, kept: list[int]) -> bool:
    """Start the stage and kill it; whether it was at work."""
    shutil.rmtree(project / "reports", ignore_errors=True)
    process: Any = FORKS.Process(target=stage, args=(str(project),))
    process.start()
    process.join(chance.uniform(0, within_s))
    process.kill()
    process.join()
    killed = bool(process.exitcode == -signal.SIGKILL)
    if killed:
        kept.append(sum(f.is_file() for f in (project / "work/evaluating").rglob("*")))
    return killed


def kill_often(project: Path, times: int, seed: int) -> tuple[list[int], float]:
    """Files kept by each kill for the next run, and the seconds of an undisturbed one."""
    undisturbed, span_s = finish(project)
    chance, kept = random.Random(seed), []
    for _ in range(times):
        until_it_hits(partial(kill, project, chance=chance, kept=kept), span_s)
        assert finish(project)[0] == undisturbed
    return kept, span_s


def test_a_kill_at_work_changes_nothing(project: Path) -> None:
    kill_often(project, 1, seed=4)


@pytest.mark.evidence
def test_twenty_kills_at_work_change_nothing(project: Path) -> None:
    kept, span_s = kill_often(project, KILLS, seed=5)
    some = sum(map(bool, kept))
    compared = (
        "`reports/evaluation.parquet`, `.json`, `.csv`, `.html` and the pictures of "
        f"`reports/samples`, byte by byte. {some} of the kills left drawn latents, which the "
        "next run went on with"
    )
    record("evaluate", kills=KILLS, alone=KILLS, span_s=span_s, compared=compared)
