"""No setting of `train` is without effect: for each, trainings with other values must differ.

Most change numbers: losses or weights. Where none may change, something else that is named here
must: memory, files, pictures, or when the training stops.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from tests.support.settings_walk import settings_of
from tests.support.training_project import write_project
from tests.training.conftest import ROOT
from tests.training.test_trainer import FINGERPRINT, Recorder
from tests.training.trainable.setting_rows import BASE, ROWS, STEPS, adapter
from torch._dynamo.utils import counters

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError
from nadir.training import compiling
from nadir.training.check import digests
from nadir.training.main import make_accelerator, prepare_run
from nadir.training.state import CheckpointStore, Snapshot
from nadir.training.stop_request import StopRequest
from nadir.training.train_step import TrainStep, make_average
from nadir.training.trainable import make_trainable
from nadir.training.trainer import Trainer

WHOLE_RUN = {"checkpoints", "previews", "looks", "stopped", "threads"}


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A miniature project that all trainings read."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    folder = write_project(tmp_path_factory.mktemp("p") / "p", base=base, params_text=text)
    steps_alone.cache_clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        # Graphs are made as always. Kernels, which take a minute, are made in test_compiling.py.
        graphs_alone = {**compiling._HOW, "backend": "aot_eager"}
        del graphs_alone["options"]
        patch.setattr(compiling, "_HOW", graphs_alone)
        step, run = made(params_of(adapter()))
        advance(step, run)
        facts = {"noise": run.noise.model_dump(), "scaling": run.scaling, "training": {}}
        step.trainable.write(folder / "earlier", base=Path("models/base"), **facts)
        yield folder


def params_of(changes: dict[str, Any]) -> TrainParams:
    usual = read_section("train", TrainParams).model_dump(mode="json", by_alias=True)
    return TrainParams.model_validate_json(json.dumps(usual | BASE | changes))


def text_of(changes: dict[str, Any]) -> str:
    return params_of(changes).model_dump_json(by_alias=True)


def made(params: TrainParams, recorder: Recorder | None = None) -> tuple[TrainStep, Any]:
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = make_accelerator(params)
    run = prepare_run(Path("work"), FINGERPRINT, params, accelerator, recorder or Recorder())
    trainable = make_trainable(params, Path("models/base"), run.text)
    return TrainStep(trainable, params, run.objective, accelerator), run


def advance(step: TrainStep, run: Any) -> list[float]:
    return [step.step(n, run.loader.batch(n), StopRequest()).loss for n in range(STEPS)]


@functools.cache
def steps_alone(params_json: str) -> dict[str, Any]:
    """What some steps give and take; many rows have one training in common."""
    torch._dynamo.reset()
    counters.clear()
    step, run = made(TrainParams.model_validate_json(params_json))
    found: dict[str, Any] = {"forwards": 0, "kept_beside": False}

    def note(*_: Any) -> None:
        found["forwards"] += 1
        number = torch.ones(1, requires_grad=True)
        kept = (number * number).grad_fn._saved_self  # type: ignore[union-attr]
        found["kept_beside"] |= kept is not number

    def note_format(_: Any, args: tuple[torch.Tensor, ...], __: Any) -> None:
        found["channels_last"] = args[0].is_contiguous(memory_format=torch.channels_last)

    resnet = step.trainable.network.down_blocks[1].resnets[0]
    resnet.register_forward_hook(note)
    resnet.conv1.register_forward_hook(note_format)
    losses = advance(step, run)
    with step.published() as trainable:
        text = trainable.text.models if trainable.text else None
        encoders = [text.text_encoder, text.text_encoder_2] if text else []
        parts = [trainable.network, *encoders]
        weights = [dict(digests(part.state_dict(), "weights")) for part in parts]
    found["numbers"] = (losses, weights)
    found["graphs"] = counters["stats"]["unique_graphs"] > 0
    found["visits"] = run.text.visits
    found["states"] = sorted(step.snapshot(STEPS, {}).optimizer)
    hollow = {"w": torch.nn.Parameter(torch.zeros(1, device="meta"))}
    try:
        found["average"] = make_average(hollow, run.train).shadow["w"].device.type
    except NotImplementedError:  # copied from a device without numbers
        found["average"] = "another device"
    return found


def whole_run(changes: dict[str, Any], work: Path) -> dict[str, Any]:
    """What a training leaves and says."""
    recorder, stop = Recorder(), StopRequest()
    step, run = made(params_of(changes), recorder)
    object.__setattr__(run, "work", work)
    found: dict[str, Any] = {"stopped": "", "threads": set()}
    real = CheckpointStore.save

    def save(store: CheckpointStore, snapshot: Snapshot) -> Path:
        found["threads"].add(threading.current_thread() is threading.main_thread())
        return real(store, snapshot)

    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(CheckpointStore, "save", save)
            Trainer(run, step, step._accelerator, stop).train()
    except NadirError as error:
        found["stopped"] = error.what
    found["looks"] = recorder.looks
    found["previews"] = [(number, prompt) for number, prompt, _ in recorder.previews]
    found["checkpoints"] = sorted(path.name for path in (work / "checkpoints").iterdir())
    return found


def test_every_setting_has_a_row() -> None:
    # Those that need other data have tests of their own.
    masks = {"TrainParams.masked_loss", "MaskedLossParams.unmasked"}
    processes = {"TrainParams.parallel"}  # two of them: tests/training/sharding
    assert set(settings_of(TrainParams)) - masks - processes == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_a_setting_has_an_effect(name: str, folder: Path, tmp_path: Path) -> None:
    row = ROWS[name]
    seen = []
    for number, changes in enumerate(row.values):
        if row.see in WHOLE_RUN:
            seen.append(whole_run(changes, tmp_path / str(number))[row.see])
        else:
            seen.append(steps_alone(text_of(changes))[row.see])
    same = [
        (row.values[a], row.values[b])
        for a in range(len(seen))
        for b in range(a)
        if seen[a] == seen[b]
    ]
    assert same == []


def test_equal_settings_train_equally(folder: Path) -> None:
    first, second = (steps_alone.__wrapped__(text_of({}))["numbers"] for _ in range(2))
    assert first == second
