"""Each optimizer, each way to make its step: exact resume, and the same numbers where promised."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.support.small_training import advance, batch, make_step, params_of, through_a_checkpoint
from tests.training.conftest import ROOT
from torch.optim.optimizer import register_optimizer_step_pre_hook

from nadir.config.optimizers import OPTIMIZERS
from nadir.model.sdxl.calling import call_unet
from nadir.training.check import snapshot_digests
from nadir.training.optim.weight_average import WeightAverage
from nadir.training.train_step import TrainStep

FILE = ROOT / "params.yaml"
BY_PARAMETER = [name for name, facts in OPTIMIZERS.items() if facts.by_parameter]
BF16 = {"weights": "bf16", "mixed_precision": "bf16"}
INSIDE = {"step_in_backward": True}
HOST = {"optimizer_device": "host", "ema_device": "host"}
NO_CLIP = {"max_gradient_norm": 1e9}


def stepped(count: int, **changes: Any) -> TrainStep:
    step = make_step(params_of(FILE, **changes), FILE)
    advance(step, range(count))
    return step


def bits(step: TrainStep) -> dict[str, torch.Tensor]:
    """Weights and average."""
    snapshot = step.snapshot(0, {})
    average = {f"average.{name}": tensor for name, tensor in (snapshot.average or {}).items()}
    return {name: w.detach().clone() for name, w in snapshot.weights.items()} | average


def assert_equal(first: TrainStep, second: TrainStep) -> None:
    a, b = bits(first), bits(second)
    assert a.keys() == b.keys()
    assert [name for name, tensor in a.items() if not torch.equal(tensor, b[name])] == []


CASES = [
    *(({"optimizer": name}) for name in OPTIMIZERS),
    *(({"optimizer": name, **BF16}) for name in BY_PARAMETER),
    *(({"optimizer": name, **BF16, **INSIDE}) for name in BY_PARAMETER),
    {**INSIDE, "gradient_accumulation": 2},
    {**BF16, **INSIDE, "gradient_accumulation": 2, "optimizer": "adamw_8bit"},
    {**BF16, **HOST, "ema_precision": "bf16"},
    {"ema_precision": "bf16"},
]


@pytest.mark.parametrize("changes", CASES, ids=lambda changes: "-".join(map(str, changes.values())))
def test_resuming_is_exact_with_every_optimizer(changes: dict[str, Any], tmp_path: Path) -> None:
    whole = make_step(params_of(FILE, **changes), FILE)
    advance(whole, range(2))
    saved = through_a_checkpoint(whole.snapshot(2, {}), tmp_path)
    expected = [result.loss for result in advance(whole, (2, 3))]
    resumed = make_step(params_of(FILE, **changes), FILE)
    resumed.restore(saved)
    assert [result.loss for result in advance(resumed, (2, 3))] == expected
    straight = snapshot_digests(whole.snapshot(4, {}))
    assert snapshot_digests(resumed.snapshot(4, {})) == straight
    assert straight != snapshot_digests(saved)


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize("name", BY_PARAMETER)
def test_steps_inside_backward_are_the_whole_models_where_nothing_is_clipped(
    name: str, accumulation: int
) -> None:
    shared = {"optimizer": name, "gradient_accumulation": accumulation, **NO_CLIP}
    assert_equal(stepped(3, **shared), stepped(3, **shared, **INSIDE))


@pytest.mark.parametrize("name", BY_PARAMETER)
def test_states_on_the_host_change_no_number(name: str) -> None:
    assert_equal(
        stepped(3, optimizer=name, **NO_CLIP), stepped(3, optimizer=name, **NO_CLIP, **HOST)
    )


def test_clipping_outside_backward_is_the_usual_one_one_parameter_at_a_time() -> None:
    usual, own = (stepped(3, max_gradient_norm=0.01, **changes) for changes in ({}, HOST))
    for name, tensor in bits(usual).items():
        assert torch.allclose(tensor, bits(own)[name], atol=1e-7), name


def gradients(step: TrainStep, number: int) -> dict[str, torch.Tensor]:
    """Of the loss of a batch at the present weights, unclipped."""
    weights = step.trainable.weights()
    predict = functools.partial(call_unet, step._update.model)
    loss = step._objective(predict, batch(number)).loss
    return dict(zip(weights, torch.autograd.grad(loss, list(weights.values())), strict=True))


def test_clipping_inside_backward_goes_by_the_norm_of_the_step_before_or_the_gradients_own() -> (
    None
):
    limit = 1e-3
    step = make_step(params_of(FILE, max_gradient_norm=limit, **INSIDE), FILE)
    names = {weight.shape: name for name, weight in step.trainable.weights().items()}
    before = 0.0
    for number in range(3):
        expected, seen = {}, {}
        for name, raw in gradients(step, number).items():
            own = float(raw.norm()) if name in ("large.weight", "mixed.weight") else 0.0
            expected[name] = raw * limit / max(limit, before, own)
        norm = torch.stack([raw.norm() for raw in gradients(step, number).values()]).norm().item()

        def note(optimizer: torch.optim.Optimizer, *_: Any, seen: Any = seen) -> None:
            for group in optimizer.param_groups:
                seen.update({names[p.shape]: p.grad.clone() for p in group["params"]})

        handle = register_optimizer_step_pre_hook(note)
        (result,) = advance(step, [number])
        handle.remove()
        assert result.gradient_norm == pytest.approx(norm, rel=1e-4)
        assert seen.keys() == expected.keys()
        for name, gradient in expected.items():
            assert torch.allclose(seen[name], gradient, rtol=1e-4, atol=1e-9), (number, name)
        before = norm
    assert before > limit


def test_an_average_in_bf16_follows_the_one_in_fp32() -> None:
    weight = {"w": torch.nn.Parameter(torch.ones(20_000))}
    exact = WeightAverage(weight, 0.999)
    short = WeightAverage(weight, 0.999, dtype=torch.bfloat16)
    exact.updates = short.updates = 10_000  # old, so that one update moves it by a thousandth
    with torch.no_grad():
        weight["w"].fill_(1.1)  # an update of 1e-4, where the next bfloat16 is 8e-3 away
    for _ in range(40):
        exact.update()
        short.update()
    moved = float(exact.shadow["w"].mean()) - 1
    assert moved == pytest.approx(0.1 * (1 - 0.999**40), rel=1e-3)
    assert float(short.shadow["w"].float().mean()) - 1 == pytest.approx(moved, rel=0.08)


def test_weights_in_bf16_follow_those_in_fp32_where_nearest_would_stand_still() -> None:
    shared = {"learning_rate": 2e-5, "ema_decay": 0.0, **NO_CLIP}
    start, exact = bits(stepped(0, **shared)), bits(stepped(8, **shared))
    short = bits(stepped(8, **shared, **BF16))
    nearest = sum(int((exact[name].bfloat16() == t.bfloat16()).sum()) for name, t in start.items())
    large = start["mixed.weight"].abs() > 0.03
    moved = (exact["mixed.weight"] - start["mixed.weight"])[large]
    own = (short["mixed.weight"].float() - start["mixed.weight"].bfloat16().float())[large]
    assert nearest > 0
    # Rounding adds noise, which the mean over many weights takes away: the slope is one.
    slope = float((own * moved).sum() / moved.square().sum())
    assert slope == pytest.approx(1, abs=0.3)


def test_an_optimizer_with_one_rate_refuses_several() -> None:
    for changes in ({"layer_rates": {"mid": 0.5}}, {"text_encoders": encoders(0.5)}):
        with pytest.raises(ValueError, match="prodigy has one rate for all that is trained"):
            params_of(FILE, optimizer="prodigy", **changes)
        params_of(FILE, optimizer="lion", **changes)
    params_of(FILE, optimizer="prodigy", text_encoders=encoders(1.0))


def encoders(first: float) -> dict[str, Any]:
    return {"learning_rate_factor": {"first": first, "second": 0.0}}
