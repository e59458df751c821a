"""The story's end: the stack's stores come back from a backup, in an empty stack."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.mlflow_server import Door
from tests.support.stack import RunningStack
from tests.support.story import ASKED, aliases

pytestmark = [pytest.mark.servers, pytest.mark.story]


def backup(stack: RunningStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    ports = [word for name, port in stack.ports.items() for word in ("--port", f"{name}={port}")]
    return subprocess.run(
        [sys.executable, "-m", "nadir.pipeline.servers.stack.backup", *ports, *arguments],
        cwd=stack.project.root,
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_empty_stack_is_filled_from_a_backup_and_draws_with_the_version_that_was_live(
    stack: RunningStack, door: Door, tmp_path: Path
) -> None:
    kept = tmp_path / "backup"
    done = backup(stack, str(kept))
    assert done.returncode == 0, done.stderr
    assert "3 databases, " in done.stdout
    assert kept.stat().st_mode & 0o077 == 0
    assert "something lies there" in backup(stack, str(kept)).stderr
    before = aliases(stack)
    assert stack.stop() == 0
    other = RunningStack(stack.project)
    door.lead_to(other.ports["s3"])
    try:
        other.start("postgres", "s3-buckets")
        damaged = tmp_path / "damaged"
        shutil.copytree(kept, damaged)
        next((damaged / "objects").iterdir()).write_bytes(b"")
        assert (
            "damaged, and nothing was restored" in backup(other, "--restore", str(damaged)).stderr
        )
        done = backup(other, "--restore", str(kept))
        assert done.returncode == 0, done.stderr
        assert "the database is not empty" in backup(other, "--restore", str(kept)).stderr
        assert aliases(other) == before
        other.stop()
        other.start("mlflow")
        program = (
            "import json, mlflow; model = mlflow.pyfunc.load_model('models:/nadir@previous'); "
            f"print(model.predict({ASKED})[0])"
        )
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env={**os.environ, **other.login},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == stack.drawn
    finally:
        other.remove()
