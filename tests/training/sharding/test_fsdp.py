"""FSDP2 in two processes: the training that one makes, resumed to the bit."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.support.training_project import write_project
from tests.training.conftest import ROOT
from tests.training.sharding.ranks import train_in_ranks
from tests.training.test_trainer import FINGERPRINT, change_params, train, weights
from tests.training.trainable.adapter_cases import RATES
from tests.training.trainable.test_settings import LORA

from nadir.compute.child_fault import left_fault
from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.training.check import snapshot_digests
from nadir.training.state import CheckpointStore

USUAL: dict[str, Any] = {
    "parallel": "fsdp",
    "optimizer": "adamw",
    "gradient_accumulation": 2,
    "steps": 6,
    "checkpoint_every": 2,
    "keep_checkpoints": 1,
    "validation": {"every": 3, "images": 6, "levels": 1},
    # What goes with it, so that one training tries all of it.
    "text_cache": 2,
    "memory_format": "channels_last",
}
TEXT = {"text_encoders": RATES}


@pytest.fixture(scope="module")
def folder(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project whose training ran in one process, in two, and in two that were killed."""
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    folder = write_project(tmp_path_factory.mktemp("p") / "p", base=base, params_text=text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        train(folder / "one", **USUAL | {"parallel": "ddp"})
        change_params(**USUAL)
        assert train_in_ranks("whole") == [0, 0]
        assert train_in_ranks("parts", kill_at=5) == [-signal.SIGKILL] * 2
        assert len([*folder.glob("parts/checkpoints/rank-*-of-2/step-000002")]) == 2
        assert not (folder / "parts/output").exists()
        # As if the second one had been killed while it wrote its share.
        shutil.rmtree(folder / "parts/checkpoints/rank-1-of-2/step-000004", ignore_errors=True)
        assert train_in_ranks("parts") == [0, 0]
        yield folder


def held(work: Path) -> dict[str, Any]:
    """What a training holds at its end, by process and name."""
    steps = read_json(work / "output/training.json")["steps"]
    found: dict[str, Any] = {}
    for rank in ("rank-0-of-2", "rank-1-of-2"):
        store = CheckpointStore(
            work / "checkpoints" / rank, fingerprint=FINGERPRINT, keep=1, warn=print
        )
        last = store.latest()
        assert last is not None
        assert last.name == f"step-{steps:06d}"
        digests = snapshot_digests(store.load(last))
        found |= {f"{rank}/{name}": digest for name, digest in digests.items()}
    for name in ("loss.csv", "training.json"):
        found[name] = (work / "output" / name).read_bytes()
    return found


def test_two_shares_train_what_one_process_does(folder: Path) -> None:
    one, two = weights(folder / "one"), weights(folder / "whole")
    assert one.keys() == two.keys()
    apart = torch.cat([(tensor - two[name]).abs().flatten() for name, tensor in one.items()])
    # AdamW makes a whole step of a gradient that is nothing but rounding: a few differ.
    assert (apart < 1e-5).float().mean() > 0.99
    numbers = [read_json(folder / work / "output/training.json") for work in ("one", "whole")]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)
    assert "heldout_high_sigma" in numbers[0]
    configs = [folder / work / "output/checkpoint/unet/config.json" for work in ("one", "whole")]
    assert read_json(configs[0]) == read_json(configs[1])


def test_each_process_keeps_its_share_alone(folder: Path) -> None:
    first, second = (
        load_file(folder / f"whole/checkpoints/rank-{rank}-of-2/step-000006/weights.safetensors")
        for rank in (0, 1)
    )
    assert sum(tensor.numel() for tensor in first.values()) == sum(
        tensor.numel() for tensor in second.values()
    )
    kept = [path.name for path in folder.glob("whole/checkpoints/rank-*-of-2/step-*")]
    assert sorted(kept) == ["step-000004"] * 2 + ["step-000006"] * 2  # keep_checkpoints is 1
    for name, tensor in weights(folder / "one").items():
        assert first[name].shape[0] + second[name].shape[0] == tensor.shape[0]


def test_a_killed_training_goes_on_to_the_same_bits(folder: Path) -> None:
    whole, parts = held(folder / "whole"), held(folder / "parts")
    assert any(name.startswith("rank-1-of-2/average/") for name in whole)
    assert whole == parts


def test_a_check_compares_what_all_processes_hold(folder: Path) -> None:
    assert train_in_ranks("check", check=True) == [0, 0]
    found = read_json(folder / "check/output/check.json")
    # The digests of one process, and the bytes of both.
    assert found["compared_tensors"] > found["trained_tensors"] >= found["changed_tensors"] > 0
    files = [*folder.glob("check/checkpoints/rank-*-of-2/step-000001/*")]
    assert len({path.parent for path in files}) == 2
    assert found["save_bytes"] == sum(path.stat().st_size for path in files)


def test_another_number_of_processes_cannot_go_on(folder: Path) -> None:
    change_params(gradient_accumulation=1)
    assert train_in_ranks("parts", ranks=4) == [1] * 4
    fault = left_fault(folder / "parts")
    assert fault is not None
    assert fault.what == (
        "the checkpoints were written by 2 processes, each with its share of the model, and now "
        "there are 4"
    )
    assert fault.where == "parts/checkpoints"
    assert fault.fix.startswith("train in 2 processes (compute.processes) to go on, or delete")


def test_one_process_has_nobody_to_share_with(project: Path, tmp_path: Path) -> None:
    with pytest.raises(NadirError, match="among processes, and there is only one") as caught:
        train(tmp_path / "w", **USUAL)
    assert caught.value.fix == "set compute.processes above 1, or train.parallel: ddp"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (TEXT, "adapter null, text_encoders null"),
        ({"adapter": LORA}, "adapter null, text_encoders null"),
        *(
            ({"optimizer": name}, "changes each number by itself: adamw, lion, schedule_free")
            for name in ("adamw_8bit", "adafactor", "came", "muon", "prodigy")
        ),
        ({"weights": "bf16", "mixed_precision": "bf16"}, "weights fp32, step_in_backward false"),
        ({"step_in_backward": True}, "weights fp32, step_in_backward false"),
        ({"optimizer_device": "host"}, "optimizer_device device"),
        ({"mixed_precision": "fp16"}, "mixed_precision bf16 or no"),
        ({"compile": "blocks"}, "compile 'off'"),
    ],
)
def test_what_shares_cannot_do_is_refused_by_name(
    train_params: TrainParams, changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(ValueError, match="parallel fsdp") as caught:
        TrainParams.model_validate(train_params.model_dump(by_alias=True) | USUAL | changes)
    assert why in str(caught.value)
    assert str(caught.value).count("parallel fsdp") == 1
