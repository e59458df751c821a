from __future__ import annotations

import pytest
import torch

from nadir.config.train import TrainParams
from nadir.training.optim.optimizers import learning_rate, make_optimizer, set_learning_rate


def rates(schedule: str, *, warmup: int = 4, steps: int = 20) -> list[float]:
    return [
        learning_rate(step, peak=1.0, warmup_steps=warmup, steps=steps, schedule=schedule)
        for step in range(steps)
    ]


def test_the_rate_warms_up_linearly_to_its_peak() -> None:
    assert rates("constant")[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_a_constant_rate_stays_at_its_peak() -> None:
    assert set(rates("constant")[4:]) == {1.0}


def test_a_cosine_rate_falls_all_the_way_and_is_half_in_the_middle() -> None:
    falling = rates("cosine")[4:]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] == 1.0
    assert falling[8] == pytest.approx(0.5)
    assert 0 < falling[-1] < 0.02


def test_without_warm_up_the_first_step_has_the_peak_rate() -> None:
    assert rates("cosine", warmup=0)[0] == 1.0


@pytest.mark.parametrize("name", ["adamw", "adafactor"])
def test_each_optimizer_decays_matrices_alone_and_lowers_a_loss(
    name: str, train_params: TrainParams
) -> None:
    params = train_params.model_copy(update={"optimizer": name, "weight_decay": 0.1})
    torch.manual_seed(0)
    layer = torch.nn.Linear(8, 8)
    optimizer = make_optimizer(dict(layer.named_parameters()), params)
    decays = [(group["params"][0].ndim, group["weight_decay"]) for group in optimizer.param_groups]
    assert decays == [(2, 0.1), (1, 0.0)]
    data = torch.randn(32, 8)
    losses = []
    for _ in range(30):
        set_learning_rate(optimizer, 0.05)
        loss = (layer(data) - data).square().mean()
        losses.append(loss.item())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.7 * losses[0]


def test_a_learning_rate_of_zero_changes_nothing(train_params: TrainParams) -> None:
    layer = torch.nn.Linear(4, 4)
    before = layer.weight.detach().clone()
    optimizer = make_optimizer(dict(layer.named_parameters()), train_params)
    set_learning_rate(optimizer, 0.0)
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    assert torch.equal(layer.weight, before)
