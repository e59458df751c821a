from __future__ import annotations

import pytest
import torch

from nadir.config.train import TrainParams
from nadir.training.main import make_accelerator
from nadir.training.optim.optimizers import make_optimizer, set_learning_rate


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


def test_gradients_of_several_processes_are_not_held_twice(train_params: TrainParams) -> None:
    handler = make_accelerator(train_params).ddp_handler
    assert handler is not None
    assert handler.gradient_as_bucket_view
