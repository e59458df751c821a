from __future__ import annotations

import pytest
import torch

from nadir.model.muon import MuonAdamW


def make(module: torch.nn.Module, *, lr: float = 0.01, weight_decay: float = 0.0) -> MuonAdamW:
    return MuonAdamW(module.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=weight_decay)


def spread(matrix: torch.Tensor) -> float:
    """Ratio of a matrix's large singular values to its small ones, outliers aside."""
    values = torch.linalg.svdvals(matrix)
    return float(values.quantile(0.9) / values.quantile(0.1))


def test_matrices_go_to_muon_thin_ones_and_vectors_to_adamw() -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(4, 16, 3), torch.nn.Linear(16, 8), torch.nn.Conv2d(8, 4, 3)
    )
    shapes = {
        (group["muon"], group["weight_decay"]): [tuple(w.shape) for w in group["params"]]
        for group in make(network, weight_decay=0.1).param_groups
    }
    assert shapes == {
        (True, 0.1): [(16, 4, 3, 3), (8, 16)],
        (False, 0.1): [(4, 8, 3, 3)],
        (False, 0.0): [(16,), (8,), (4,)],
    }


@pytest.mark.parametrize("shape", [(16, 64), (64, 16), (32, 32)])
def test_an_update_moves_all_directions_alike_and_is_as_large_as_adamws(
    shape: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(shape[1], shape[0], bias=False)
    before = layer.weight.detach().clone()
    # A gradient whose directions differ a hundredfold.
    layer.weight.grad = torch.randn(shape) * torch.logspace(-1, 1, shape[1])
    make(layer).step()
    update = (layer.weight.detach() - before) / 0.01
    assert spread(layer.weight.grad) > 4
    assert spread(update) < 2
    assert 0.7 * 0.2 < update.square().mean().sqrt() < 1.3 * 0.2


def test_the_other_parameters_get_exactly_adamw() -> None:
    torch.manual_seed(0)
    start = torch.randn(3, 20)
    ours, theirs = torch.nn.Parameter(start.clone()), torch.nn.Parameter(start.clone())
    settings = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}
    optimizers = MuonAdamW([ours], **settings), torch.optim.AdamW([theirs], **settings)
    for _ in range(10):
        gradient = torch.randn(3, 20)
        for parameter, optimizer in zip((ours, theirs), optimizers, strict=True):
            parameter.grad = gradient.clone()
            optimizer.step()
    torch.testing.assert_close(ours, theirs)


def test_a_parameter_without_gradient_stays_and_a_closure_is_refused() -> None:
    layer = torch.nn.Linear(8, 8)
    before = layer.weight.detach().clone()
    optimizer = make(layer)
    optimizer.step()
    assert torch.equal(layer.weight, before)
    with pytest.raises(ValueError, match="takes no closure"):
        optimizer.step(lambda: 0.0)
