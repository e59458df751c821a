"""What `nadir status` says while something runs, and of files that are not the lock file's."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from tests.mini.project import MiniProject

from nadir.cli.status import print_summary
from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.pipeline.processes.lock import workspace_lock
from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.processes.running import running_stages
from nadir.pipeline.status import read_status
from nadir.tracking.lock_file import read_lock
from nadir.tracking.registry.registration import register

PIPELINE = """
import signal
from pathlib import Path
from nadir.pipeline.opening import open_session
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
with open_session(Path.cwd(), until="train", flow_run_id="one", name="fox") as session:
    for stage in session.stages:
        session.run(stage)
"""


def states(status: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    """The line of each stage and fact."""
    print_summary(status)
    lines = capsys.readouterr().out.splitlines()
    return {line.split()[0]: line for line in lines if line.strip()}


def wait_for(text: str, log: Path, child: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 300
    while not (log.is_file() and text in log.read_text()):
        assert child.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize("how", ["pipeline", "dvc repro"])
def test_a_stage_that_is_computed_is_running_whoever_started_it(
    how: str,
    trained: MiniProject,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    trained.source("slow")
    log = trained.root / "work/logs/train.log"
    commands = {"pipeline": ["-c", PIPELINE], "dvc repro": ["-m", "dvc", "repro", "train"]}
    out = trained.root / "work/out"
    with out.open("wb") as file:
        child = subprocess.Popen(
            [sys.executable, *commands[how]],
            env=quiet_environment(trained.root),
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        wait_for("train: waiting", log if how == "pipeline" else out, child)
        status = read_status(trained.root)
        lines = states(status, capsys)
    finally:
        os.killpg(child.pid, signal.SIGINT)
        child.wait(timeout=120)
    assert "running" in lines["train"]
    assert [stage["name"] for stage in status["stages"] if stage["running"]] == ["train"]
    assert status["running"] is (how == "pipeline")
    assert not any(stage["running"] for stage in read_status(trained.root)["stages"])


def test_a_process_number_that_dvc_left_and_another_got_is_no_stage(trained: MiniProject) -> None:
    path = trained.root / ".dvc/tmp/rwlock"
    path.parent.mkdir(exist_ok=True)
    entry = {"pid": os.getpid(), "cmd": "repro"}
    place = str(trained.root / "models/checkpoint")
    outputs = {"train": ["models/checkpoint"]}
    for text in (json.dumps({"write": {place: entry}, "read": {}}), "", "[]", '{"write": 3}'):
        path.write_text(text, encoding="utf-8")
        assert running_stages(trained.root, outputs) == {}


def test_a_look_at_the_lock_stops_no_pipeline_that_starts(tmp_path: Path) -> None:
    with (tmp_path / "lock").open("w") as look:
        fcntl.flock(look, fcntl.LOCK_SH)
        threading.Timer(0.1, fcntl.flock, [look, fcntl.LOCK_UN]).start()
        with workspace_lock(tmp_path / "lock"):
            pass


def test_files_of_another_version_are_told_and_the_version_is_theirs(
    trained: MiniProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")

    def registered() -> int:
        lock = read_lock(trained.root)
        return register(trained.root, fingerprint=entry_fingerprint(lock["train"])).version.version

    lock_file = trained.root / "dvc.lock"
    assert registered() == 1
    first, source = lock_file.read_bytes(), (trained.root / "source.txt").read_text()
    trained.source("other pictures")
    trained.dvc("repro")
    assert registered() == 2
    status = read_status(trained.root)
    assert not any(stage["differs"] for stage in status["stages"])
    trained.source(source)
    lock_file.write_bytes(first)  # as `git checkout` of another commit does
    status = read_status(trained.root)
    lines = states(status, capsys)
    assert "differs" in lines["train"]
    assert "not the files that dvc.lock names" in lines["differs"]
    assert "version 2" in lines["model"]
    (train,) = [stage for stage in status["stages"] if stage["name"] == "train"]
    assert not train["up_to_date"]
    assert "models/checkpoint" in train["differs"]
    trained.dvc("checkout")
    status = read_status(trained.root)
    lines = states(status, capsys)
    assert "up to date" in lines["train"]
    assert "version 1" in lines["model"]
    assert "differs" not in lines
