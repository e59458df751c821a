"""Every setting of what is trained has an effect, and what is frozen stays as it was to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.training.test_trainer import assert_equal_weights, train
from tests.training.trainable.adapter_cases import KINDS, RATES, params_of, weights

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError
from nadir.training.train_step import TrainStep
from nadir.training.trainable import make_trainable

FAST = {"steps": 3, "warmup_steps": 0, "preview_every": 0, "ema_decay": 0.0, "optimizer": "adamw"}
LORA = {
    "kind": "lora",
    "rank": 2,
    "alpha": 2.0,
    "patterns": {},
    "convolutions": False,
    "text_encoders": False,
    "from": None,
}


def trained(work: Path, **changes: Any) -> dict[str, dict[str, torch.Tensor]]:
    """The published weights after a few steps."""
    train(work, **FAST | changes)
    return weights(work / "output/checkpoint")


def moved(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> set[str]:
    """Names of the weights that are not equal to the bit."""
    assert before.keys() == after.keys()
    return {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}


@pytest.mark.parametrize(
    ("layers", "inside"),
    [
        (["cross_attention"], ".attn2."),
        (["attention"], ".attn"),
        (["mid"], "mid_block."),
        (["up"], "up_blocks."),
        (["down_blocks.1.attentions.0"], "down_blocks.1.attentions.0."),
    ],
)
def test_only_the_named_layers_are_trained(
    project: Path, base: Path, tmp_path: Path, layers: list[str], inside: str
) -> None:
    recorder = train(tmp_path / "w", **FAST | {"layers": layers})
    before, after = weights(base), weights(tmp_path / "w/output/checkpoint")
    changed = moved(before["unet"], after["unet"])
    matrices = {name for name, tensor in before["unet"].items() if tensor.ndim > 1}
    assert {name for name in matrices if inside in name} == changed & matrices
    assert all(inside in name for name in changed)
    assert 0 < recorder.info["trained_parameters"] < recorder.info["unet_parameters"]


def test_frozen_layers_take_no_gradient_and_no_optimizer_state(
    project: Path, tmp_path: Path
) -> None:
    with pytest.raises(NadirError, match="stopped"):
        train(tmp_path / "w", stop_at=1, **FAST | {"layers": ["mid"]})
    (folder,) = (tmp_path / "w/checkpoints").iterdir()
    stored = load_file(folder / "weights.safetensors")
    assert all(name.startswith("mid_block.") for name in stored)
    optimizer = torch.load(folder / "optimizer.pt", weights_only=True)["optimizer"]
    assert len(optimizer["state"]) == len(stored)


def test_a_pattern_that_matches_nothing_names_what_is_near(base: Path) -> None:
    for key, value, said in (
        ("layers", ("atention",), "near it: attention"),
        ("layers", ("mid_blok.*",), "mid_block"),
        ("layer_rates", {"conv_inn": 2.0}, "conv_in"),
        ("layers", ("????",), "nothing is named like it"),
    ):
        params = read_section("train", TrainParams, Path(__file__).parents[3] / "params.yaml")
        with pytest.raises(NadirError, match="matches no layer") as caught:
            make_trainable(params.model_copy(update={key: value}), base)
        assert said in caught.value.what
        assert caught.value.where == f"params.yaml train.{key}"


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_layer_rates_scale_the_steps_of_their_layers(
    project: Path, base: Path, tmp_path: Path, optimizer: str
) -> None:
    shared = {"steps": 1, "optimizer": optimizer, "weight_decay": 0.0}
    plain = trained(tmp_path / "plain", **shared)
    rates = {"mid": 0.25, "mid_block.resnets.*": 9.0}  # the first that matches counts
    rated = trained(tmp_path / "rated", layer_rates=rates, **shared)
    before = weights(base)["unet"]
    for name, old in before.items():
        factor = 0.25 if name.startswith("mid_block.") else 1.0
        step, other = plain["unet"][name] - old, rated["unet"][name] - old
        assert torch.allclose(other, step * factor, atol=1e-6), name
    assert moved(plain["unet"], rated["unet"])


def test_text_encoders_are_trained_at_their_own_rates(
    project: Path, base: Path, tmp_path: Path
) -> None:
    before = weights(base)
    once = trained(tmp_path / "once", steps=1, weight_decay=0.0, text_encoders=RATES)
    for part, factor in (("text_encoder", 1.0), ("text_encoder_2", 0.5)):
        steps = [(once[part][n] - old).abs().max() for n, old in before[part].items()]
        # AdamW's first step is the learning rate wherever there is a gradient.
        assert max(steps).item() == pytest.approx(0.004 * factor, rel=1e-2)
    unseen = {n for n in before["text_encoder"] if "layers.1." in n or "final_layer_norm" in n}
    changed = moved(before["text_encoder"], once["text_encoder"])
    assert changed
    assert not changed & unseen
    frozen = trained(tmp_path / "frozen", text_encoders=None)
    for part in ("text_encoder", "text_encoder_2"):
        assert not moved(before[part], frozen[part])


@pytest.mark.parametrize("adapter", [None, LORA | {"text_encoders": True}])
def test_steps_inside_backward_keep_the_rates_of_layers_and_encoders(
    project: Path, tmp_path: Path, adapter: dict[str, Any] | None
) -> None:
    shared = {"steps": 1, "weight_decay": 0.0, "max_gradient_norm": 1e9, "adapter": adapter}
    shared |= {"layer_rates": {"mid": 0.5}, "text_encoders": RATES}
    whole = trained(tmp_path / "whole", **shared)
    inside = trained(tmp_path / "inside", step_in_backward=True, **shared)
    for part, own in whole.items():
        for name, tensor in own.items():
            assert torch.allclose(tensor, inside[part][name], atol=1e-6), name


def test_weights_in_bf16_are_those_of_the_text_encoders_too(
    project: Path, base: Path, tmp_path: Path
) -> None:
    shared = {"mixed_precision": "bf16", "weights": "bf16", "text_encoders": RATES}
    after = trained(tmp_path / "w", **shared)
    for part, own in after.items():
        assert {tensor.dtype for tensor in own.values()} == {torch.bfloat16}, part
    assert moved(weights(base)["text_encoder"], after["text_encoder"])


def test_a_text_encoder_of_rate_zero_stays_frozen(
    project: Path, base: Path, tmp_path: Path
) -> None:
    rates = {"learning_rate_factor": {"first": 0.0, "second": 1.0}}
    after = trained(tmp_path / "w", text_encoders=rates)
    assert not moved(weights(base)["text_encoder"], after["text_encoder"])
    assert moved(weights(base)["text_encoder_2"], after["text_encoder_2"])


def test_a_step_with_text_encoders_at_a_standstill_is_the_frozen_step(
    project: Path, tmp_path: Path
) -> None:
    """The text states that the step makes are those that the loader made, to the bit."""
    tiny = {"learning_rate_factor": {"first": 1e-30, "second": 1e-30}}
    frozen = train(tmp_path / "frozen", **FAST | {"max_gradient_norm": 1e9})
    moving = train(tmp_path / "moving", text_encoders=tiny)
    assert [m["loss"] for *_, m in frozen.steps] == [m["loss"] for *_, m in moving.steps]


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_is_trained_and_its_base_is_not(
    project: Path, base: Path, tmp_path: Path, kind: str
) -> None:
    adapter = LORA | {"kind": kind}
    after = trained(tmp_path / "w", adapter=adapter, learning_rate=0.01)
    before = weights(base)
    changed = moved(before["unet"], after["unet"])
    assert changed == {n for n in before["unet"] if _is_adapted(n, before["unet"][n])}
    for part in ("text_encoder", "text_encoder_2"):
        assert not moved(before[part], after[part])


def _is_adapted(name: str, tensor: torch.Tensor) -> bool:
    return ".attentions." in name and name.endswith(".weight") and tensor.ndim == 2


def test_each_setting_of_an_adapter_changes_the_result(project: Path, tmp_path: Path) -> None:
    usual = trained(tmp_path / "usual", adapter=LORA)
    pattern = {"attention": {"rank": 0, "alpha": 1.0}}
    for number, changes in enumerate(
        [
            {"adapter": LORA | {"rank": 3}},
            {"adapter": LORA | {"alpha": 4.0}},
            {"adapter": LORA | {"patterns": pattern}},
            {"adapter": LORA | {"convolutions": True}},
            {"adapter": LORA | {"text_encoders": True}, "text_encoders": RATES},
            {"adapter": LORA | {"from": str(tmp_path / "usual/output/checkpoint")}},
            {"adapter": LORA, "layers": ["mid"]},
            {"adapter": LORA, "layer_rates": {"mid": 2.0}},
            {"adapter": LORA, "seed": 1},
        ]
    ):
        rest = {"text_encoders": None, "layers": None, "layer_rates": {}, "seed": 0}
        after = trained(tmp_path / str(number), **rest | changes)
        assert moved(usual["unet"], after["unet"]), changes
        assert bool(changes["adapter"]["text_encoders"]) == bool(
            moved(usual["text_encoder_2"], after["text_encoder_2"])
        )


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_starts_as_the_base_and_equal_seeds_start_equal(base: Path, kind: str) -> None:
    first, again = (make_trainable(params_of(kind), base) for _ in range(2))
    other = make_trainable(params_of(kind).model_copy(update={"seed": 5}), base)
    assert first.weights().keys() == first.rate_factors().keys()
    for name, weight in first.weights().items():
        assert torch.equal(weight, again.weights()[name])
        assert weight.dtype == torch.float32
    if kind != "oft":  # which starts at no rotation, whatever the seed
        pairs = zip(first.weights().values(), other.weights().values(), strict=True)
        assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("kind", KINDS)
def test_in_bf16_the_base_is_bf16_and_the_adapter_float32(
    project: Path, base: Path, tmp_path: Path, kind: str
) -> None:
    params = params_of(kind).model_copy(update={"mixed_precision": "bf16"})
    made = make_trainable(params, base)
    assert {weight.dtype for weight in made.weights().values()} == {torch.float32}
    assert made.network.conv_in.weight.dtype == torch.bfloat16
    changes = {"adapter": LORA | {"kind": kind}, "mixed_precision": "bf16"}
    # A preview too, which draws outside of the training step.
    after = trained(tmp_path / "w", preview_every=3, gradient_checkpointing=True, **changes)
    before = weights(base)["unet"]
    assert moved(before, after["unet"]) == {n for n in before if _is_adapted(n, before[n])}


@pytest.mark.parametrize("kind", ["lora", "oft"])
def test_a_killed_training_of_an_adapter_resumes_to_the_same_bits(
    project: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = {"adapter": LORA | {"kind": kind, "text_encoders": True}, "text_encoders": RATES}
    changes |= {"preview_every": 0, "optimizer": "adamw", "steps": 6, "checkpoint_every": 2}
    train(tmp_path / "whole", **changes)
    real = TrainStep.step

    def dies_in_the_fourth(self: TrainStep, number: int, *rest: Any) -> Any:
        result = real(self, number, *rest)
        if number == 3:
            raise KeyboardInterrupt
        return result

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(TrainStep, "step", dies_in_the_fourth)
        train(tmp_path / "parts", **changes)
    assert [path.name for path in (tmp_path / "parts/checkpoints").iterdir()] == ["step-000002"]
    train(tmp_path / "parts", **changes)
    assert_equal_weights(tmp_path / "whole", tmp_path / "parts")
    for path in (tmp_path / "whole/output").rglob("*.safetensors"):
        other = tmp_path / "parts/output" / path.relative_to(tmp_path / "whole/output")
        assert path.read_bytes() == other.read_bytes()


def test_settings_that_contradict_are_refused(project: Path, tmp_path: Path) -> None:
    for changes, said in (
        ({"adapter": LORA | {"text_encoders": True}}, "go together"),
        ({"adapter": LORA, "text_encoders": RATES}, "go together"),
        (
            {"adapter": LORA, "weights": "bf16", "mixed_precision": "bf16"},
            "what is trained is always fp32",
        ),
        ({"adapter": LORA | {"kind": "oft", "rank": 1}}, "a block of 1 cannot be rotated"),
        ({"adapter": LORA | {"patterns": {"mid": {"rang": 1}}}}, "did you mean rank"),
        (
            {"text_encoders": {"learning_rate_factor": {"first": 0.0, "second": 0.0}}},
            "set text_encoders: null",
        ),
    ):
        rest = {"adapter": None, "text_encoders": None, "weights": "fp32"}
        with pytest.raises(NadirError) as caught:
            train(tmp_path / "w", **rest | changes)
        assert said in caught.value.what
