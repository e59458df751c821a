from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.training.state import CheckpointStore, Snapshot, age


def make_store(folder: Path, *, fingerprint: str = "f" * 64, keep: int = 2) -> CheckpointStore:
    warnings: list[str] = []
    store = CheckpointStore(folder, fingerprint=fingerprint, keep=keep, warn=warnings.append)
    store.warnings = warnings  # type: ignore[attr-defined]
    return store


def make_snapshot(step: int, value: float = 0.5) -> Snapshot:
    return Snapshot(
        step=step,
        weights={"a": torch.full((2, 3), value), "b": torch.arange(4.0)},
        average={"a": torch.full((2, 3), -value), "b": torch.zeros(4)},
        average_updates=step,
        optimizer={"state": {0: {"step": torch.tensor(1.0), "m": torch.ones(3)}}, "lr": 0.1},
        facts={"history": {"rows": [[1, 2, 0.1 + 0.2]]}},
    )


def test_a_checkpoint_comes_back_bit_by_bit(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.save(make_snapshot(200, 1 / 3))
    folder = store.latest()
    assert folder is not None
    assert folder.name == "step-000200"
    back = store.load(folder)
    assert (back.step, back.average_updates) == (200, 200)
    assert torch.equal(back.weights["a"], torch.full((2, 3), 1 / 3))
    assert back.average is not None
    assert torch.equal(back.average["a"], torch.full((2, 3), -1 / 3))
    assert torch.equal(back.optimizer["state"][0]["m"], torch.ones(3))
    assert back.facts["history"]["rows"] == [[1, 2, 0.1 + 0.2]]


HELD = """
import sys
from pathlib import Path
import psutil
import torch
from nadir.training.optim.weight_average import copy_weights
from tests.training.test_state import make_store

store = make_store(Path(sys.argv[1]))
own = {f"w{n}": torch.nn.Parameter(torch.ones(1 << 20)) for n in range(24)}
folder = store.latest()
before = psutil.Process().memory_info().rss
snapshot = store.load(folder)
copy_weights(snapshot.weights, own)
after = psutil.Process().memory_info().rss
assert all(float(w[0]) == 2.0 for w in own.values())
print((after - before) >> 20)
"""


def test_resuming_holds_no_second_copy_of_the_weights(tmp_path: Path) -> None:
    """Of 96 MiB, a tensor of 4 at a time."""
    weights = {f"w{n}": torch.full((1 << 20,), 2.0) for n in range(24)}
    snapshot = make_snapshot(1)
    snapshot.weights = weights
    make_store(tmp_path).save(snapshot)
    root = Path(__file__).resolve().parents[2]
    line = [sys.executable, "-c", HELD, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        line, cwd=root, env=environment, check=True, capture_output=True, text=True
    )
    assert int(done.stdout) < 30


def test_a_name_that_a_checkpoint_lacks_is_a_key_error(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    back = store.load(store.save(make_snapshot(10)))
    assert sorted(back.weights) == ["a", "b"]
    with pytest.raises(KeyError):
        back.weights["c"]


def test_a_run_without_average_has_none_in_its_checkpoint(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    snapshot = make_snapshot(1)
    snapshot.average = None
    folder = store.save(snapshot)
    assert store.load(folder).average is None


def test_only_the_newest_checkpoints_stay(tmp_path: Path) -> None:
    store = make_store(tmp_path, keep=2)
    for step in (5, 999_998, 999_999, 1_000_000):
        store.save(make_snapshot(step))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-1000000", "step-999999"]


def test_there_is_no_latest_checkpoint_before_the_first(tmp_path: Path) -> None:
    assert make_store(tmp_path / "missing").latest() is None


def test_a_damaged_checkpoint_costs_none_that_comes_after_it(tmp_path: Path) -> None:
    store = make_store(tmp_path, keep=1)
    (store.save(make_snapshot(20)) / "weights.safetensors").unlink()
    assert store.latest() is None
    store.save(make_snapshot(10))
    assert [folder.name for folder in tmp_path.iterdir()] == ["step-000010"]


@pytest.mark.parametrize("name", ["weights.safetensors", "optimizer.pt", "state.json"])
@pytest.mark.parametrize("how", ["cut", "flip", "remove"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before_it(
    tmp_path: Path, name: str, how: str
) -> None:
    store = make_store(tmp_path)
    store.save(make_snapshot(10))
    damaged = store.save(make_snapshot(20)) / name
    data = bytearray(damaged.read_bytes())
    if how == "cut":
        damaged.write_bytes(data[: len(data) // 2])
    elif how == "flip":
        data[len(data) // 2] ^= 1
        damaged.write_bytes(data)
    else:
        damaged.unlink()
    folder = store.latest()
    assert folder is not None
    assert folder.name == "step-000010"
    assert "step-000020 is damaged" in store.warnings[0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"weights.safetensors": 3}', "{}"])
def test_a_damaged_manifest_is_a_damaged_checkpoint(tmp_path: Path, text: str) -> None:
    store = make_store(tmp_path)
    (store.save(make_snapshot(10)) / "manifest.json").write_text(text, encoding="utf-8")
    assert store.latest() is None


def test_a_kill_while_writing_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    store.save(make_snapshot(10))
    half = tmp_path / ".step-000020.tmp"
    half.mkdir()
    (half / "weights.safetensors").write_bytes(b"half")
    folder = store.latest()
    assert folder is not None
    assert folder.name == "step-000010"
    assert not half.exists()


def test_a_full_disk_leaves_no_half_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = make_store(tmp_path)
    store.save(make_snapshot(10))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("nadir.training.state.torch.save", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(make_snapshot(20))
    assert [p.name for p in tmp_path.iterdir()] == ["step-000010"]


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    make_store(tmp_path, fingerprint="a" * 64).save(make_snapshot(10))
    with pytest.raises(NadirError, match="belongs to another training") as caught:
        make_store(tmp_path, fingerprint="b" * 64).latest()
    assert "delete" in caught.value.fix


def test_an_optimizer_state_that_would_run_code_is_not_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "evil"),))

    store = make_store(tmp_path)
    folder = store.save(make_snapshot(10))
    torch.save({"x": Evil()}, folder / "optimizer.pt")
    with pytest.raises(Exception, match=r"weights_only|Weights only"):
        store.load(folder)
    assert not (tmp_path / "evil").exists()


def test_clearing_removes_all_checkpoints(tmp_path: Path) -> None:
    store = make_store(tmp_path / "c")
    store.save(make_snapshot(10))
    store.clear()
    assert store.latest() is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (120, "2 min"), (7200, "2 h"), (3 * 86400, "3 d")]
)
def test_an_age_is_told_in_its_natural_unit(tmp_path: Path, seconds: int, text: str) -> None:
    path = tmp_path / "file"
    write_json(path, {})
    os.utime(path, times=(time.time() - seconds,) * 2)
    assert age(path) == text
    assert read_json(path) == {}
