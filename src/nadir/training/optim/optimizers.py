"""Optimizers and the learning rate as a function of the step."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch

from nadir.model.muon import MuonAdamW

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from nadir.config.train import TrainParams


def learning_rate(
    step: int,
    *,
    peak: float,
    warmup_steps: int,
    steps: int,
    schedule: Literal["constant", "cosine"],
) -> float:
    """Learning rate of optimizer step `step` (from 0): linear warm-up, then the schedule.

    The warm-up reaches `peak` at step `warmup_steps`; the cosine falls to 0 after the last step.
    It is a pure function, so a resumed run needs no scheduler state.
    """
    if step < warmup_steps:
        return peak * (step + 1) / (warmup_steps + 1)
    if schedule == "constant":
        return peak
    done = (step - warmup_steps) / (steps - warmup_steps)
    return peak * 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(
    parameters: Iterable[torch.nn.Parameter],
    params: TrainParams,
    rate_factors: Sequence[float] | None = None,
) -> torch.optim.Optimizer:
    """The optimizer that `train.optimizer` names, over matrices with decay and vectors without.

    Biases and normalisation scales get no weight decay. AdamW runs fused, in one kernel over all
    parameters. Adafactor keeps factored second moments (a fraction of AdamW's memory) and no
    momentum; its step is the learning rate times the size of the matrix it changes. Muon
    orthogonalises its steps, which takes more time per step; its learning rate is AdamW's or twice.

    Args:
        parameters: What is trained.
        params: `params.yaml` train.
        rate_factors: What the learning rate is multiplied by for each parameter; None is 1 for all.
            Each factor makes groups of its own, which have it as `rate_factor`.
    """
    every = list(parameters)
    factors = rate_factors or [1.0] * len(every)
    if params.optimizer == "muon":
        return MuonAdamW(
            every,
            rate_factors=factors,
            lr=params.learning_rate,
            betas=params.betas,
            weight_decay=params.weight_decay,
        )
    groups = []
    for factor in dict.fromkeys(factors):
        own = [p for p, rate in zip(every, factors, strict=True) if rate == factor]
        for decay, members in (
            (params.weight_decay, [p for p in own if p.ndim >= 2]),
            (0.0, [p for p in own if p.ndim < 2]),
        ):
            groups.append({"params": members, "weight_decay": decay, "rate_factor": factor})
    groups = [group for group in groups if group["params"]]
    if params.optimizer == "adafactor":
        return torch.optim.Adafactor(groups, lr=params.learning_rate)
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=params.betas, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate`, times each group's `rate_factor`, from the next step on."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("rate_factor", 1.0)
