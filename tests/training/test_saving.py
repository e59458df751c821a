"""Checkpoints that are written while the training goes on."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.support.small_training import advance, make_step, params_of
from tests.training.conftest import ROOT
from tests.training.test_state import make_snapshot, make_store
from tests.training.test_trainer import QUIET, assert_equal_weights, train

from nadir.ground.errors import disk_full_error
from nadir.training.check import snapshot_digests
from nadir.training.saving import CheckpointWriter, on_host
from nadir.training.state import CheckpointStore, Snapshot

PARAMS = ROOT / "params.yaml"
BF16 = {"weights": "bf16", "mixed_precision": "bf16"}


class Slow(CheckpointStore):
    """Writes when it is let."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, fingerprint="f", keep=3, warn=print)
        self.let, self.began = threading.Event(), threading.Event()

    def save(self, snapshot: Snapshot) -> Path:
        self.began.set()
        assert self.let.wait(300)
        return super().save(snapshot)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": "adamw"},
        {"optimizer": "schedule_free"},
        {"optimizer": "adamw_8bit", "step_in_backward": True} | BF16,
        {"optimizer": "adamw_4bit"} | BF16,
        {"optimizer": "adamw_fp8"},
    ],
)
def test_a_copy_keeps_its_moment_while_training_goes_on(changes: dict[str, Any]) -> None:
    step = make_step(params_of(PARAMS, **changes), PARAMS)
    advance(step, [0])
    facts = {"history": {"rows": [(1, 2, 0.5)], "window": []}}
    snapshot = step.snapshot(1, facts)
    then, copy = snapshot_digests(snapshot), on_host(snapshot)
    assert snapshot_digests(copy) == then
    advance(step, [1])
    facts["history"]["rows"].append((2, 4, 0.4))
    assert snapshot_digests(step.snapshot(2, {})) != then
    assert snapshot_digests(copy) == then
    assert copy.facts["history"]["rows"] == [(1, 2, 0.5)]


def test_training_goes_on_while_one_is_written_and_a_second_waits(tmp_path: Path) -> None:
    store = Slow(tmp_path)
    writer = CheckpointWriter(store, in_background=True)
    writer.save(make_snapshot(10))
    assert store.began.wait(300)
    writer.look()
    assert not list(tmp_path.iterdir())
    second = threading.Thread(target=writer.save, args=(make_snapshot(20),))
    second.start()
    second.join(0.05)
    assert second.is_alive()
    store.let.set()
    second.join(300)
    writer.wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-000010", "step-000020"]


def test_what_goes_wrong_is_told_at_the_next_look(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    writer = CheckpointWriter(store, in_background=True)
    snapshot = make_snapshot(10)
    snapshot.facts = {"not": {"json"}}
    writer.save(snapshot)
    assert writer._writing
    writer._writing.exception()
    with pytest.raises(TypeError, match="JSON"):
        writer.look()
    writer.wait()  # told once
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("in_background", [True, False])
def test_a_training_ends_with_the_disk_that_is_full(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_background: bool
) -> None:
    real = CheckpointStore.save

    def full(store: CheckpointStore, snapshot: Snapshot) -> Path:
        if snapshot.step == 8:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(store, snapshot)

    monkeypatch.setattr(CheckpointStore, "save", full)
    with pytest.raises(OSError, match="No space left"):
        train(tmp_path / "w", checkpoint_in_background=in_background, **QUIET)
    assert [p.name for p in (tmp_path / "w/checkpoints").iterdir()] == ["step-000004"]
    monkeypatch.setattr(CheckpointStore, "save", real)
    train(tmp_path / "w")
    train(tmp_path / "whole")
    assert_equal_weights(tmp_path / "whole", tmp_path / "w")


def test_a_full_disk_is_recognised_in_the_optimizers_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch's own writer would say `enforce fail`."""
    monkeypatch.setattr("nadir.training.state._OPTIMIZER", "/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        make_store(tmp_path).save(make_snapshot(10))
    assert disk_full_error(caught.value, where="train")
    assert not list(tmp_path.iterdir())


DIES = """
import os, signal, sys, torch
from pathlib import Path
from tests.training.test_saving import make_snapshot, make_store
from nadir.training import state
from nadir.training.saving import CheckpointWriter

store = make_store(Path(sys.argv[1]))
writer = CheckpointWriter(store, in_background=True)
writer.save(make_snapshot(10))
writer.wait()
state.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
writer.save(make_snapshot(20))
writer.wait()
"""


def test_a_kill_in_the_middle_leaves_the_one_before(tmp_path: Path) -> None:
    line = [sys.executable, "-c", DIES, str(tmp_path)]
    died = subprocess.run(line, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, check=False)
    assert died.returncode == -signal.SIGKILL
    assert len(list(tmp_path.iterdir())) == 2
    folder = make_store(tmp_path).latest()
    assert folder is not None
    assert [p.name for p in tmp_path.iterdir()] == ["step-000010"]
