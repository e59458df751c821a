"""A child's fault reaches its parent whole, once, and the first cause is the one that is shown."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
import torch

from nadir.compute.child_fault import (
    faults_left_in,
    forget_fault,
    leave_fault,
    left_fault,
    no_reason,
)
from nadir.ground.errors import NadirError
from nadir.training.stop_request import stopped_early


def test_a_fault_ends_the_child_and_is_what_its_parent_finds(tmp_path: Path) -> None:
    fault = NadirError("the image is gone", where="a.png", fix="put it back")
    with pytest.raises(SystemExit, match="1"), faults_left_in(tmp_path, where="encode"):
        raise fault
    assert str(left_fault(tmp_path)) == str(fault)
    forget_fault(tmp_path)
    assert left_fault(tmp_path) is None


def test_a_full_disk_is_a_fault_and_any_other_exception_keeps_its_traceback(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), faults_left_in(tmp_path, where="train"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "train: no disk space left" in str(left_fault(tmp_path))
    forget_fault(tmp_path)
    with pytest.raises(ZeroDivisionError), faults_left_in(tmp_path, where="train"):
        _ = 1 / 0
    assert left_fault(tmp_path) is None


def test_memory_that_is_used_up_is_a_fault(tmp_path: Path) -> None:
    with pytest.raises(SystemExit), faults_left_in(tmp_path, where="train"):
        torch.empty(1 << 50)
    assert "train: no memory left" in str(left_fault(tmp_path))
    assert "batch_size" in str(left_fault(tmp_path))


def test_a_stop_that_another_fault_brought_about_does_not_hide_it(tmp_path: Path) -> None:
    leave_fault(tmp_path, stopped_early())
    assert "stopped on request" in str(left_fault(tmp_path))
    leave_fault(tmp_path, NadirError("the loss is not finite"))
    leave_fault(tmp_path, stopped_early())
    assert "not finite" in str(left_fault(tmp_path))


@pytest.mark.parametrize("status", [-9, 137])
def test_killed_children_are_told_with_what_takes_less_memory(status: int) -> None:
    text = str(no_reason("the training process", status, where="train"))
    assert text.startswith("train: the training process was killed (SIGKILL)")
    assert "`train.batch_size`" in text
    assert text.count("fix:") == 1


def test_children_that_left_no_reason_are_named_with_their_status() -> None:
    text = str(no_reason("the encoding processes", 1, where="encode"))
    assert text.startswith("encode: the encoding processes ended with status 1 and gave no reason")
    assert "`encode.batch_size`" in text
