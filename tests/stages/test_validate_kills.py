"""kill -9 at a random moment of `validate`, run again: the same bytes as without it."""

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

import pytest
from tests.support.hostile import encoded, make_hostile_folder, picture
from tests.support.kills import record, until_it_hits

from nadir.stages import ingest

OUTPUTS = (
    "data/manifest.parquet",
    "data/quarantine.parquet",
    "data/profile.json",
    "reports/validation.html",
    "reports/validation.json",
)
KILLS = 20
# Facts are saved after every chunk, so that a kill finds some of them on disk.
# Loading the libraries is not what is to be killed.
STAGE = """
import great_expectations
from nadir.data.inspection import remembered
from nadir.data.inspection import listing
remembered._SAVE_EVERY_S = 0.0
listing._CHUNK = 8
from nadir.stages.validate import main
print("ready", flush=True)
main()
"""


@pytest.fixture
def project(tmp_path: Path, root: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Good and hostile images, listed."""
    shutil.copy(root / "dvc.yaml", tmp_path)
    text = params_text.replace("source: data/sample", "source: images")
    (tmp_path / "params.yaml").write_text(text.replace("workers: 0", "workers: 2"))
    images = tmp_path / "images"
    images.mkdir()
    make_hostile_folder(images)
    for index in range(60):
        (images / f"{index:03}.jpg").write_bytes(encoded(picture(200 + index, 700, 500), "JPEG"))
        (images / f"{index:03}.txt").write_text(f"outdoors, tag_{index % 7}")
    monkeypatch.chdir(tmp_path)
    ingest.work()
    return tmp_path


def start() -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", STAGE], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def finish() -> tuple[dict[str, bytes], float]:
    """What a whole run gives, and the seconds it took."""
    with start() as process:
        begun = time.monotonic()
        process.communicate()
        assert process.returncode == 0
    return {name: Path(name).read_bytes() for name in OUTPUTS}, time.monotonic() - begun


def kill(within_s: float, chance: random.Random, *, alone: bool, fresh: bool) -> bool:
    """Start the stage and kill it, alone or with all its workers; whether it was at work."""
    for name in OUTPUTS:
        Path(name).unlink(missing_ok=True)
    if fresh:
        shutil.rmtree("work", ignore_errors=True)
    with start() as process:
        time.sleep(chance.uniform(0, within_s))
        if process.poll() is None:
            process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
        return process.wait() == -signal.SIGKILL


def kill_often(times: int, seed: int) -> tuple[int, float]:
    """How many of the kills spared the workers, and the seconds of an undisturbed run."""
    undisturbed, span_s = finish()
    chance, sparing = random.Random(seed), 0
    for _ in range(times):
        how = {"alone": chance.random() < 0.5, "fresh": chance.random() < 0.7}
        until_it_hits(partial(kill, chance=chance, **how), span_s)
        assert finish()[0] == undisturbed
        sparing += how["alone"]
    return sparing, span_s


def test_two_kills_at_work_change_nothing(project: Path) -> None:
    kill_often(2, seed=4)


@pytest.mark.evidence
def test_twenty_kills_at_work_change_nothing(project: Path) -> None:
    alone, span_s = kill_often(KILLS, seed=5)
    outputs = ", ".join(f"`{name}`" for name in OUTPUTS)
    compared = f"{outputs}, byte by byte"
    record("validate", kills=KILLS, alone=alone, span_s=span_s, compared=compared)
