"""A check finds a checkpoint that lacks something, and a training that changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError
from nadir.training.check import differing, digests
from nadir.training.main import check_training, make_accelerator
from nadir.training.optim.weight_average import WeightAverage
from nadir.training.stop_request import StopRequest
from nadir.training.train_step import TrainStep


def run(work: Path, **changes: Any) -> None:
    params = read_section("train", TrainParams).model_copy(update=changes)
    check_training(work, "check", params, make_accelerator(params), StopRequest())


def test_an_incomplete_resume_is_found_and_not_blamed_on_the_device(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WeightAverage, "load", lambda *_: None)
    with pytest.raises(NadirError, match=r"`average/.*the checkpoint lacks something"):
        run(tmp_path / "w")


def test_a_step_that_never_repeats_is_the_devices(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = TrainStep.step, []

    def shaken(self: TrainStep, *rest: Any) -> Any:
        result = real(self, *rest)
        calls.append(1)
        with torch.no_grad():
            next(iter(self.trainable.weights().values())).add_(1e-3 * len(calls))
        return result

    monkeypatch.setattr(TrainStep, "step", shaken)
    with pytest.raises(NadirError, match="does not repeat itself"):
        run(tmp_path / "w")


def test_a_training_that_changes_nothing_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(NadirError, match="two steps changed no weight"):
        run(tmp_path / "w", learning_rate=1e-300, optimizer="adamw", weight_decay=0.0)


def test_one_bit_in_a_nested_state_is_a_difference() -> None:
    first = {"state": [{"m": torch.zeros(3)}], "step": 2}
    second = {"state": [{"m": torch.tensor([0.0, 0.0, -0.0])}], "step": 2}
    a, b = dict(digests(first, "o")), dict(digests(second, "o"))
    assert differing(a, a) == []
    assert differing(a, b) == ["o/state/0/m"]
    assert differing(a, {}) == ["o/state/0/m", "o/step"]
