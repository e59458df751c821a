"""Locks are held by processes, name their holder, and end with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nadir.ground.locks import LockedError, exclusive_lock, holder_of, is_held, waiting_lock

HOLD = """
import sys
from pathlib import Path
from nadir.ground.locks import exclusive_lock
with exclusive_lock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_held_lock_names_its_holder_and_ends_with_it(tmp_path: Path) -> None:
    path = tmp_path / "a/run.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        assert is_held(path)
        with pytest.raises(LockedError, match=str(child.pid)) as stop, exclusive_lock(path):
            pass
        assert stop.value.holder == child.pid
        child.kill()
        child.wait()
    assert not is_held(path)
    with exclusive_lock(path):
        assert holder_of(path) == os.getpid()


def test_a_lock_file_that_holds_no_number_names_nobody(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    path.write_bytes(b"\xff\x00")
    assert holder_of(path) is None
    with waiting_lock(path):
        assert is_held(path)
