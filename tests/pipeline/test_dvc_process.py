"""DVC's commands are forked off one process that has it loaded, and behave as programs do."""

from __future__ import annotations

import fcntl
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
from tests.mini.project import MiniProject

from nadir.pipeline.processes.dvc_process import DvcProcess, start_dvc
from nadir.pipeline.processes.process import quiet_environment, run_stage
from nadir.pipeline.processes.supervise import group_is_alive, stop_group

WAITS = "print('waiting', flush=True); __import__('time').sleep(60)"


def start(
    root: Path,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    lock: int | None = None,
) -> DvcProcess | None:
    with (root / "log").open("wb") as log:
        return start_dvc(
            arguments,
            cwd=root,
            environment={**quiet_environment(root), **(environment or {})},
            log=log,
            inherit=[] if lock is None else [lock],
        )


def wait(child: DvcProcess | None, root: Path) -> str:
    assert child is not None
    while child.poll() is None:
        time.sleep(0.01)
    assert child.returncode == 0, (root / "log").read_text(encoding="utf-8")
    return (root / "log").read_text(encoding="utf-8")


def slow_stage(project: MiniProject) -> None:
    (project.root / "steps.py").write_text(WAITS, encoding="utf-8")


def until_it_waits(root: Path) -> None:
    deadline = time.monotonic() + 60
    while "waiting" not in (root / "log").read_text() and time.monotonic() < deadline:
        time.sleep(0.05)


FAMILY = """
import os, pathlib, psutil
pathlib.Path("data").mkdir(exist_ok=True)
pathlib.Path("data/listing.txt").touch()
family = [p.pid for p in psutil.Process().parents() if "dvc_launcher" in " ".join(p.cmdline())]
print("family", os.environ.get("ONLY_HERE"), *family, flush=True)
"""


def test_two_commands_have_one_parent_and_their_own_environment(project: MiniProject) -> None:
    root = project.root
    (root / "steps.py").write_text(FAMILY, encoding="utf-8")
    command = ("repro", "--single-item", "--force", "ingest")
    told = []
    for own in ({"ONLY_HERE": "1"}, {}):
        printed = wait(start(root, *command, environment=own), root)
        told.append(re.search(r"family (\S+) (\d+) (\d+)$", printed, re.MULTILINE))
    first, second = (match.groups() for match in told if match)
    assert (first[0], second[0]) == ("1", "None")
    assert first[1] != second[1]
    assert first[2] == second[2]


def test_an_exit_code_is_that_of_the_program(project: MiniProject) -> None:
    child = start(project.root, "root", "--nonsense")
    assert child is not None
    while child.poll() is None:
        time.sleep(0.01)
    assert child.returncode == 254, "as `python -m dvc` ends for an argument that it does not know"
    assert "unrecognized arguments: --nonsense" in (project.root / "log").read_text()


def test_a_second_command_at_once_is_left_to_a_program_of_its_own(project: MiniProject) -> None:
    slow_stage(project)
    child = start(project.root, "repro", "--single-item", "ingest")
    assert child is not None
    until_it_waits(project.root)
    assert start(project.root, "root") is None
    assert stop_group(child)
    while child.poll() is None:
        time.sleep(0.01)
    assert child.returncode not in {0, None}


def test_a_lock_is_held_as_long_as_the_command_runs(project: MiniProject, tmp_path: Path) -> None:
    slow_stage(project)
    with (tmp_path / "lock").open("w") as mine, (tmp_path / "lock").open("w") as others:
        fcntl.flock(mine, fcntl.LOCK_EX)
        child = start(project.root, "repro", "--single-item", "ingest", lock=mine.fileno())
        mine.close()
        until_it_waits(project.root)
        with pytest.raises(BlockingIOError):
            fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert child is not None
        assert stop_group(child)
        fcntl.flock(others, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_where_the_process_that_forks_is_killed_the_command_is_stopped(
    project: MiniProject,
) -> None:
    slow_stage(project)
    child = start(project.root, "repro", "--single-item", "ingest")
    assert child is not None
    until_it_waits(project.root)
    psutil.Process(child.pid).parent().kill()  # type: ignore[union-attr]
    while child.poll() is None:
        time.sleep(0.01)
    assert child.returncode == -signal.SIGKILL
    assert not group_is_alive(child.pid)
    assert wait(start(project.root, "root"), project.root).strip() == ".", "there is a new one"


ENDS = """
import os, sys
from pathlib import Path
import psutil
from nadir.pipeline.processes.process import run_stage
assert run_stage("ingest", Path.cwd()).state == "executed"
(launcher,) = psutil.Process().children()
assert "dvc_launcher" in " ".join(launcher.cmdline()), launcher.cmdline()
print(launcher.pid)
"""


def test_it_ends_with_the_process_that_started_it(project: MiniProject) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ENDS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not psutil.pid_exists(int(done.stdout))


def test_a_stage_runs_where_nothing_may_be_forked(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nadir.pipeline.processes.dvc_process._FORKS", False)
    assert run_stage("ingest", project.root).state == "executed"
    assert run_stage("encode", project.root).state == "executed"
    assert run_stage("encode", project.root).state == "unchanged"
