"""kill -9 at a random moment of `validate`, run again: the same bytes as without it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.hostile import encoded, make_hostile_folder, picture

from nadir.stages import ingest

OUTPUTS = (
    "data/manifest.parquet",
    "data/quarantine.parquet",
    "data/profile.json",
    "reports/validation.html",
    "reports/validation.json",
)
# Facts are saved after every chunk, so that a kill finds some of them on disk.
# Loading the libraries is not what is to be killed.
STAGE = """
import great_expectations
from nadir.data import lookup, survey
lookup._SAVE_EVERY_S = 0.0
survey._CHUNK = 8
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


def kill_and_rerun(undisturbed: dict[str, bytes], span_s: float, chance: random.Random) -> bool:
    """One kill, alone or with all its workers, and one rerun; whether it hit a running stage."""
    for name in OUTPUTS:
        Path(name).unlink(missing_ok=True)
    if chance.random() < 0.7:
        shutil.rmtree("work")
    with start() as process:
        time.sleep(chance.uniform(0, span_s))
        hit = process.poll() is None
        alone = chance.random() < 0.5
        if hit:
            process.kill() if alone else os.killpg(process.pid, signal.SIGKILL)
    assert finish()[0] == undisturbed
    return hit


def kill_often(times: int, seed: int) -> int:
    """How many of the kills hit."""
    undisturbed, span_s = finish()
    chance = random.Random(seed)
    return sum(kill_and_rerun(undisturbed, span_s, chance) for _ in range(times))


def test_two_kills_change_nothing(project: Path) -> None:
    assert kill_often(2, seed=4) >= 1


@pytest.mark.evidence
def test_twenty_kills_change_nothing(project: Path) -> None:
    assert kill_often(20, seed=5) >= 15
