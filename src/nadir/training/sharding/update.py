"""From gradients to weights where each process holds a share of every parameter."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from nadir.training.optim.optimizers import make_optimizer, uncompiled
from nadir.training.optim.update import WholeUpdate
from nadir.training.sharding.network import local, local_shards

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from accelerate import Accelerator

    from nadir.config.train import TrainParams
    from nadir.training.optim.weight_average import WeightAverage
    from nadir.training.trainable import Trainable


class ShardedUpdate(WholeUpdate):
    """See `nadir.training.optim.update.Update`; the optimizer sees this process' shares alone.

    It has to work number by number, so that a share of a parameter is all that it needs.

    Args:
        trainable: Its network is sharded.
        params: Optimizer, clipping.
        accelerator: Processes and precision.
        average: Of this process' shares; None without one.
    """

    def __init__(
        self,
        trainable: Trainable,
        params: TrainParams,
        accelerator: Accelerator,
        average: WeightAverage | None,
    ) -> None:
        self._accelerator, self._average = accelerator, average
        self._kind, self._limit = params.optimizer, params.max_gradient_norm
        self._parts = params.gradient_accumulation
        self._sharded = trainable.weights()
        self._weights = local_shards(self._sharded)
        self._optimizer = make_optimizer(self._weights, params, trainable.rate_factors())
        # FSDP sends the gradients itself; what is wanted of accelerate is the precision.
        self.model = accelerator.prepare_model(
            trainable.network, device_placement=False, evaluation_mode=True
        )
        self.encoders = []

    def part(self, *, last: bool) -> AbstractContextManager[None]:  # noqa: ARG002
        """See `Update.part`; gradients of each part are sent at once and summed in shares."""
        return contextlib.nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """See `Update.backward`."""
        torch.autograd.backward(loss / self._parts)

    def finish(self) -> torch.Tensor:
        """See `Update.finish`; the norm is that of all processes' shares together."""
        for name, sharded in self._sharded.items():
            gradient, sharded.grad = sharded.grad, None
            self._weights[name].grad = None if gradient is None else local(gradient)
        shares = self._weights.values()
        norm = get_total_norm([share.grad for share in shares if share.grad is not None])
        square: torch.Tensor = self._accelerator.reduce(norm.square(), reduction="sum")
        self._norm = square.sqrt()
        clip_grads_with_norm_(shares, self._limit, self._norm)
        with uncompiled(self._accelerator.device):
            self._optimizer.step()
        self._optimizer.zero_grad()
        return super().finish()
