"""From gradients to weights: one optimizer over all parameters, as everybody knows it.

`Update` is what a training step needs; the other implementation is in `by_parameter`.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Protocol

import torch

from nadir.config.optimizers import OPTIMIZERS
from nadir.training.optim.optimizers import make_optimizer, set_learning_rate, uncompiled
from nadir.training.optim.weight_average import copy_weights, host_copies

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from accelerate import Accelerator

    from nadir.config.train import TrainParams
    from nadir.training.optim.weight_average import WeightAverage
    from nadir.training.trainable import Trainable


class Update(Protocol):
    """Owns the optimizer: collects the gradients of a batch's parts and makes the step."""

    model: torch.nn.Module
    """The network as it is called: on the device, in the run's precision."""

    encoders: list[Any]
    """Likewise both text encoders, where one is trained; else none."""

    def begin(self, step: int, rate: float) -> None:
        """Start optimizer step `step` (from 0) with learning rate `rate`."""
        ...

    def part(self, *, last: bool) -> AbstractContextManager[None]:
        """Around the forward and backward pass of each part of the batch."""
        ...

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a part's mean loss."""
        ...

    def finish(self) -> torch.Tensor:
        """Change the weights and their average; returns the gradients' norm before clipping.

        The norm stays on the device, so that nothing waits for it.
        """
        ...

    def published(self) -> AbstractContextManager[None]:
        """Inside the block the parameters hold the weights to publish."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed training needs, for torch's weights-only loader."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        ...


class WholeUpdate:
    """All parameters at once; gradients of all are there before the first weight changes.

    Args:
        trainable: Its network is prepared here, and moved to the device.
        params: Optimizer, clipping.
        accelerator: Device, processes and precision.
        average: Updated after each step; None without one.
    """

    def __init__(
        self,
        trainable: Trainable,
        params: TrainParams,
        accelerator: Accelerator,
        average: WeightAverage | None,
    ) -> None:
        self._accelerator = accelerator
        self._kind = params.optimizer
        self._limit = params.max_gradient_norm
        self._weights = trainable.weights()
        optimizer = make_optimizer(self._weights, params, trainable.rate_factors())
        self.model, self._optimizer = accelerator.prepare(trainable.network, optimizer)
        self.encoders = trainable.text.wrapped(accelerator.prepare) if trainable.text else []
        self._average = average
        self._norm = torch.tensor(torch.nan)

    def begin(self, step: int, rate: float) -> None:  # noqa: ARG002
        """See `Update.begin`."""
        set_learning_rate(self._optimizer, rate)

    def part(self, *, last: bool) -> AbstractContextManager[None]:  # noqa: ARG002
        """See `Update.part`; accelerate counts the parts itself."""
        context: AbstractContextManager[None] = self._accelerator.accumulate(
            self.model, *self.encoders
        )
        return context

    def backward(self, loss: torch.Tensor) -> None:
        """See `Update.backward`; after the last part it also changes the weights."""
        self._accelerator.backward(loss)
        if self._accelerator.sync_gradients:
            self._norm = self._accelerator.clip_grad_norm_(self._weights.values(), self._limit)
        with uncompiled(self._accelerator.device):
            self._optimizer.step()
        self._optimizer.zero_grad()

    def finish(self) -> torch.Tensor:
        """See `Update.finish`."""
        if self._average:
            self._average.update()
        return self._norm

    @contextlib.contextmanager
    def published(self) -> Iterator[None]:
        """See `Update.published`; schedule-free trains at another point than it publishes."""
        if not OPTIMIZERS[self._kind].own_average:
            yield
            return
        own = host_copies(self._weights)
        self._optimizer.eval()
        try:
            yield
        finally:
            self._optimizer.train()
            # Its own way back rounds; a training must not depend on how often it was looked at.
            copy_weights(own, self._weights)

    def state_dict(self) -> dict[str, Any]:
        """See `Update.state_dict`: the optimizer, and in fp16 the loss scaler."""
        scaler = self._accelerator.scaler
        return {
            "optimizer": self._optimizer.state_dict(),
            "scaler": scaler.state_dict() if scaler else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Update.load_state_dict`."""
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler and state["scaler"]:
            self._accelerator.scaler.load_state_dict(state["scaler"])
