"""What is counted without numbers is what real tensors take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.support.training_project import make_base

from nadir.config.base_model import BaseModelParams
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.model.sdxl.networks import load_text
from nadir.planning.hollow import configs_of, hollow_trainable, runnable
from nadir.planning.memory import MemoryPlan, Part, plan_memory
from nadir.planning.step_memory import StepMemory, step_memory
from nadir.training.trainable import make_trainable, text_precision

ROOT = Path(__file__).resolve().parents[2]
SHAPE = (4, 16, 16)
LORA = {"kind": "lora", "rank": 4, "alpha": 4.0, "patterns": {}, "convolutions": False}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_base(tmp_path_factory.mktemp("base") / "base")


def settings(**changes: Any) -> TrainParams:
    known = read_section("train", TrainParams, ROOT / "params.yaml")
    return TrainParams.model_validate(known.model_dump(by_alias=True) | changes)


def counted(
    base: Path, *, images: int = 4, shape: tuple[int, int, int] = SHAPE, **changes: Any
) -> StepMemory:
    train = settings(**changes)
    model = read_section("base_model", BaseModelParams, ROOT / "params.yaml")
    trainable, text = hollow_trainable(configs_of(base, model), train)
    with runnable(trainable.network, text.text_encoder, text.text_encoder_2):
        return step_memory(trainable, text, train, images=images, latent_CHW=shape)


def held(base: Path, **changes: Any) -> StepMemory:
    train = settings(**changes)
    text = load_text(base, dtype=text_precision(train))
    return step_memory(make_trainable(train, base, text), text, train, images=4, latent_CHW=SHAPE)


BF16 = {"weights": "bf16", "mixed_precision": "bf16", "optimizer": "adamw"}


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"gradient_checkpointing": True},
        BF16,
        BF16 | {"step_in_backward": True},
        {"mixed_precision": "bf16"},
        {"activation_offload": True},
        {"text_encoders": {"learning_rate_factor": {"first": 1.0, "second": 0.0}}},
        {"adapter": LORA | {"text_encoders": False, "from": None}},
    ],
    ids=lambda changes: "-".join(changes) or "default",
)
def test_shapes_take_what_numbers_take(base: Path, changes: dict[str, Any]) -> None:
    shapes, numbers = counted(base, **changes), held(base, **changes)
    assert shapes.peak == pytest.approx(numbers.peak, rel=0.02)
    assert shapes.gradients == pytest.approx(numbers.gradients, rel=0.02)
    assert shapes.host == numbers.host


def test_each_way_to_save_memory_saves_some(base: Path) -> None:
    plain = counted(base, **BF16)
    assert counted(base, **BF16, gradient_checkpointing=True).peak < plain.peak
    small: dict[str, Any] = {"images": 1, "shape": (4, 4, 4), **BF16}  # so that gradients count
    kept, used = counted(base, **small), counted(base, **small, step_in_backward=True)
    assert used.gradients == 0 < kept.gradients
    assert used.peak < kept.peak
    offloaded = counted(base, **BF16, activation_offload=True)
    assert offloaded.peak < plain.peak
    assert plain.host == 0 < offloaded.host


def plan_of(base: Path, processes: int = 1, **changes: Any) -> MemoryPlan:
    model = read_section("base_model", BaseModelParams, ROOT / "params.yaml")
    train, size = settings(**changes), {"images": 2, "width": 64, "height": 64}
    return plan_memory(configs_of(base, model), train, **size, processes=processes)


def parts(base: Path, **changes: Any) -> dict[str, Part]:
    plan = plan_of(base, **changes)
    assert plan.device_bytes(libraries=False) >= sum(part.device for part in plan.step)
    return {part.name: part for part in plan.step}


def test_parts_are_of_the_settings(base: Path) -> None:
    adamw = parts(base, optimizer="adamw")
    numbers = adamw["U-Net"].device // 4
    assert adamw["optimizer state"].device == 8 * numbers
    assert adamw["average"].device == 4 * numbers
    lean = parts(base, **BF16, optimizer_device="host", ema_precision="bf16", ema_device="host")
    assert lean["U-Net"].device == 2 * numbers
    assert lean["optimizer state"] == Part(
        "optimizer state", device=0, host=8 * numbers, note="adamw"
    )
    assert (lean["average"].device, lean["average"].host) == (0, 2 * numbers)
    assert "average" not in parts(base, ema_decay=0.0)
    adapter = parts(base, adapter=LORA | {"text_encoders": False, "from": None})
    assert adapter["optimizer state"].device < adamw["optimizer state"].device / 4


def test_gradients_of_several_parts_lie_beside_the_activations(base: Path) -> None:
    once = parts(base)
    twice = parts(base, gradient_accumulation=2)
    weights = once["U-Net"].device
    assert twice["gradients"].device == weights
    total = [sum(part.device for part in found.values()) for found in (once, twice)]
    assert total[0] < total[1]


def test_each_process_has_its_share(base: Path) -> None:
    one, two = (
        plan_of(base, 2, parallel=way, optimizer="adamw", preview_every=6)
        for way in ("ddp", "fsdp")
    )
    before, after = ({part.name: part.device for part in plan.step} for plan in (one, two))
    for name in ("U-Net", "optimizer state", "average"):
        assert after[name] == before[name] / 2
    assert after["gradients"] == after["U-Net"]
    assert after["text encoders"] == before["text encoders"]
    assert after["whole blocks"] > 0
    gathered = {part.name: part.device for part in two.previews}
    assert gathered["whole U-Net"] == before["U-Net"]
    assert two.state_bytes == one.state_bytes == two.copy_bytes
    assert two.copy_held_by == "all processes together"
