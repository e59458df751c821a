"""Optimizers by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.model.muon import MuonAdamW

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nadir.config.train import TrainParams


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter], params: TrainParams
) -> torch.optim.Optimizer:
    """The optimizer that `train.optimizer` names, over matrices with decay and vectors without.

    Biases and normalisation scales get no weight decay. AdamW runs fused, in one kernel over all
    parameters. Adafactor keeps factored second moments (a fraction of AdamW's memory) and no
    momentum; its step is the learning rate times the size of the matrix it changes. Muon
    orthogonalises its steps, which takes more time per step; its learning rate is AdamW's or twice.
    """
    if params.optimizer == "muon":
        return MuonAdamW(
            parameters,
            lr=params.learning_rate,
            betas=params.betas,
            weight_decay=params.weight_decay,
        )
    matrices: list[torch.nn.Parameter] = []
    vectors: list[torch.nn.Parameter] = []
    for parameter in parameters:
        (matrices if parameter.ndim >= 2 else vectors).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": params.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    if params.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=params.learning_rate)
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=params.betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate
