"""kill -9 at a random moment of a pipeline, the same command again: all as without it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil
import pytest
from tests.mini.project import MiniProject
from tests.support.kills import record

from nadir.pipeline.opening import open_session
from nadir.pipeline.processes.running import is_held
from nadir.tracking.lock_file import output_hashes, read_lock

KILLS = 20
PATIENCE_S = 300
COMPARED = ("data", "models", "reports")
# Loading DVC is not what is to be killed: a server has loaded it, and forks.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["dvc.repo", "nadir.pipeline.opening"])


def begin(folder: str) -> None:
    """What the child process does."""
    os.chdir(folder)
    os.environ["NADIR_TRACKING"] = "none"
    root = Path(folder)
    with open_session(root, until="evaluate", flow_run_id=uuid4().hex, name="killed") as session:
        for stage in session.stages:
            session.run(stage)


def start(root: Path) -> Any:
    process = FORKS.Process(target=begin, args=(str(root),))
    process.start()
    return process


def finish(root: Path) -> tuple[dict[str, Any], float]:
    """What a whole run leaves, by name, and the seconds it took."""
    begun = time.monotonic()
    process = start(root)
    process.join()
    took_s = time.monotonic() - begun
    assert process.exitcode == 0
    assert not is_held(root)
    assert not list((root / "work/pipeline/runs").glob("*.json"))
    files = [f for name in COMPARED for f in (root / name).rglob("*") if f.is_file()]
    found: dict[str, Any] = {str(f.relative_to(root)): f.read_bytes() for f in files}
    return {**found, "dvc.lock": output_hashes(read_lock(root))}, took_s


def kill(root: Path, after_s: float, *, alone: bool) -> bool:
    """Begin, or go on, and kill after so many seconds; whether it was at work."""
    process = start(root)
    process.join(after_s)
    if process.exitcode is not None:
        return False
    pipeline = psutil.Process(process.pid)
    pipeline.suspend()
    family = pipeline.children(recursive=True)
    for member in [] if alone else family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.suspend()
    for member in [pipeline] if alone else [pipeline, *pipeline.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.kill()
    process.join()
    _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
    assert not alive, "no orphan"
    assert not is_held(root), "no lock"
    return bool(process.exitcode == -signal.SIGKILL)


@pytest.mark.evidence
@pytest.mark.timeout(7200)
def test_kills_of_the_pipeline_change_nothing(project: MiniProject) -> None:
    fresh = project.root.with_name("fresh")
    shutil.copytree(project.root, fresh)
    whole = fresh.with_name("whole")
    shutil.copytree(fresh, whole)
    finish(project.root)  # everything is loaded
    undisturbed, span_s = finish(whole)
    chance, spans, kills, alone = random.Random(11), [], 0, 0
    while kills < KILLS:
        root = fresh.with_name(f"killed-{len(spans)}")
        shutil.copytree(fresh, root)
        for within_s in (0.8 * span_s, 0.4 * span_s, 0.4 * span_s):
            sparing = (kills + len(spans)) % 2 == 0
            if kill(root, chance.uniform(0, within_s), alone=sparing):
                kills, alone = kills + 1, alone + sparing
        result, took_s = finish(root)
        spans.append(took_s)
        assert result == undisturbed, root
        shutil.rmtree(root)
        _record(kills, alone, span_s, spans)


def _record(kills: int, alone: int, span_s: float, spans: list[float]) -> None:
    compared = (
        "the hashes in `dvc.lock` and all files of data, models and reports, byte by byte. After "
        "each kill no process of it was left and the workspace was free; where the pipeline's "
        f"process alone was killed, its stage was asked to stop. They hit {len(spans)} runs of the "
        "tests' small project, up to three each, one after another; the command that completed "
        f"these took {statistics.median(spans):.0f} s (median)"
    )
    record("pipeline", kills=kills, alone=alone, span_s=span_s, compared=compared)
