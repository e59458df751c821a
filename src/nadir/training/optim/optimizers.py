"""Optimizers by name."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Any

import torch

from nadir.model.muon import MuonAdamW

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nadir.config.optimizers import OptimizerName
    from nadir.config.train import TrainParams

    Group = dict[str, Any]

_RATE_FACTOR = "rate_factor"


def make_optimizer(
    weights: Mapping[str, torch.nn.Parameter],
    params: TrainParams,
    factors: Mapping[str, float] | None = None,
) -> torch.optim.Optimizer:
    """The optimizer that `train.optimizer` names, over matrices with decay and vectors without.

    Biases and normalisation scales get no weight decay. AdamW runs fused, in one kernel over all
    parameters. Adafactor keeps factored second moments (a fraction of AdamW's memory) and no
    momentum; its step is the learning rate times the size of the matrix it changes. Muon
    orthogonalises its steps, which takes more time per step; its learning rate is AdamW's or twice.

    Args:
        weights: The parameters to train, by name.
        params: `params.yaml` train.
        factors: Of the learning rate by name; 1 for those that are not there.
    """
    factors = factors or {}
    groups: dict[tuple[bool, float], Group] = {}
    for name, weight in weights.items():
        is_matrix, factor = weight.ndim >= 2, factors.get(name, 1.0)
        group = groups.setdefault((is_matrix, factor), {"params": [], _RATE_FACTOR: factor})
        group["params"].append(weight)
        group["weight_decay"] = params.weight_decay if is_matrix else 0.0
    # Matrices first, as optimizer states of earlier versions have them.
    ordered = [groups[key] for key in sorted(groups, reverse=True)]
    return _MAKERS[params.optimizer](ordered, params)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Use `rate` from the next step on, times each group's factor."""
    for group in optimizer.param_groups:
        own = rate * group.get(_RATE_FACTOR, 1.0)
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def uncompiled(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Around an optimizer's step.

    On a CPU torchao's compiled steps need a C++ compiler and a minute for each shape.
    """
    if device.type == "cpu":
        eager: contextlib.AbstractContextManager[object] = torch.compiler.set_stance("force_eager")
        return eager
    return contextlib.nullcontext()


def _adamw(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=params.learning_rate, betas=params.betas, fused=True)


def _low_bit(kind: str) -> Callable[[list[Group], TrainParams], torch.optim.Optimizer]:
    def make(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
        # It warns of each of its compiled kernels that was built for another GPU.
        logging.getLogger("torchao").setLevel(logging.ERROR)
        import torchao.optim

        made: torch.optim.Optimizer = getattr(torchao.optim, kind)(
            groups, lr=params.learning_rate, betas=params.betas
        )
        return made

    return make


def _adafactor(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
    return torch.optim.Adafactor(groups, lr=params.learning_rate)


def _came(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
    from came_pytorch import CAME

    made: torch.optim.Optimizer = CAME(
        groups, lr=params.learning_rate, betas=(*params.betas, _CAME_CONFIDENCE)
    )
    return made


def _lion(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
    from optimi import Lion

    made: torch.optim.Optimizer = Lion(groups, lr=params.learning_rate, betas=params.betas)
    return made


def _muon(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
    return MuonAdamW(
        groups,
        lr=params.learning_rate,
        betas=params.betas,
        weight_decay=params.weight_decay,
    )


def _prodigy(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
    from prodigyopt import Prodigy

    made: torch.optim.Optimizer = Prodigy(
        groups,
        lr=params.learning_rate,
        betas=params.betas,
        use_bias_correction=True,
        safeguard_warmup=True,
    )
    return made


def _schedule_free(groups: list[Group], params: TrainParams) -> torch.optim.Optimizer:
    from schedulefree import AdamWScheduleFree

    made: torch.optim.Optimizer = AdamWScheduleFree(
        groups, lr=params.learning_rate, betas=params.betas
    )
    made.train()  # type: ignore[attr-defined]
    return made


# CAME's third beta, its authors' value (Luo et al. 2307.02047, section 4).
_CAME_CONFIDENCE = 0.9999
_MAKERS: dict[OptimizerName, Callable[[list[Group], TrainParams], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw_8bit": _low_bit("AdamW8bit"),
    "adamw_4bit": _low_bit("AdamW4bit"),
    "adamw_fp8": _low_bit("AdamWFp8"),
    "adafactor": _adafactor,
    "came": _came,
    "lion": _lion,
    "muon": _muon,
    "prodigy": _prodigy,
    "schedule_free": _schedule_free,
}
