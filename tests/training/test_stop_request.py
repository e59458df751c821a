from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nadir.ground.errors import NadirError
from nadir.ground.locks import is_held
from nadir.training.stop_request import StopRequest, exclusive

HOLDER = """
import sys, time
from pathlib import Path
from nadir.training.stop_request import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_held_inside_the_block_and_free_after_it(tmp_path: Path) -> None:
    lock = tmp_path / "a" / "lock"
    assert not is_held(lock)
    with exclusive(lock):
        assert is_held(lock)
    assert not is_held(lock)


def test_a_lock_of_another_process_is_refused_by_its_pid_and_freed_by_its_death(
    tmp_path: Path,
) -> None:
    lock = tmp_path / "lock"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(lock)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(NadirError, match=rf"pid {holder.pid}"), exclusive(lock):
            pass
    finally:
        holder.kill()
        holder.communicate()
    with exclusive(lock):
        assert lock.read_text(encoding="utf-8").strip() == str(os.getpid())


def test_no_lock_is_taken_when_told_so(tmp_path: Path) -> None:
    with exclusive(tmp_path / "lock", when=False):
        assert not (tmp_path / "lock").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_noted_once_and_handlers_come_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested
        for _ in range(2):
            os.kill(os.getpid(), number)
            time.sleep(0.01)
        assert stop.requested
    assert signal.getsignal(number) is before


def test_a_repeated_request_does_not_kill_a_process_on_its_way_out() -> None:
    before = signal.getsignal(signal.SIGTERM)
    try:
        with StopRequest(is_last=True):
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)
    with StopRequest(is_last=True):
        pass
    assert signal.getsignal(signal.SIGTERM) is before
