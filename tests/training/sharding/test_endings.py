"""How two processes end when one of them is killed or asked to stop."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from tests.training.sharding.ranks import train_in_ranks
from tests.training.test_trainer import QUIET, change_params

from nadir.compute.child_fault import LostProcessError, leave_fault, left_fault
from nadir.ground.errors import NadirError


def test_the_other_process_ends_with_one_sentence(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    change_params(**QUIET)
    assert train_in_ranks("w", kill_at=0, killed=[1]) == [1, -signal.SIGKILL]
    fault = left_fault(Path("w"))
    assert fault is not None
    assert fault.where == "train"
    assert fault.what.startswith("the connection to another of the processes is lost (")
    assert "too little memory" in fault.fix
    assert "Traceback" not in capfd.readouterr().err


def test_a_stop_of_one_is_a_stop_of_both_and_no_failure_to_torchrun(project: Path) -> None:
    change_params(**QUIET)
    assert train_in_ranks("w", kill_at=1, killed=[1], number=signal.SIGTERM) == [0, 0]
    fault = left_fault(Path("w"))
    assert fault is not None
    assert fault.what == "stopped on request after step 3 of 12; the state is saved"
    assert not Path("w/output").exists()
    assert [path.name for path in Path("w/checkpoints").iterdir()] == ["step-000003"]


def test_it_never_hides_what_ended_the_first(tmp_path: Path) -> None:
    leave_fault(tmp_path, NadirError("the disk is full"))
    leave_fault(tmp_path, LostProcessError("the connection is lost"))
    assert "the disk is full" in str(left_fault(tmp_path))
