"""The moving average of the weights, which is what a training publishes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class WeightAverage:
    """Exponential moving average of a module's parameters, kept in float32.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): a young average follows quickly
    instead of dragging the initial weights along.

    Args:
        module: The module to follow; its buffers are taken as they are.
        decay: Share of the average that stays at each update; 0 follows the weights exactly.
    """

    def __init__(self, module: torch.nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.shadow = {
            name: parameter.detach().to(torch.float32, copy=True)
            for name, parameter in module.named_parameters()
        }

    @torch.no_grad()
    def update(self, module: torch.nn.Module) -> None:
        """Take the module's present weights into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        present = [parameter.detach().float() for _, parameter in module.named_parameters()]
        torch._foreach_lerp_(list(self.shadow.values()), present, 1 - decay)

    @contextlib.contextmanager
    def applied(self, module: torch.nn.Module) -> Iterator[None]:
        """Inside the block the module holds the average; afterwards its own weights again."""
        own = {name: p.detach().clone() for name, p in module.named_parameters()}
        self._copy(self.shadow, module)
        try:
            yield
        finally:
            self._copy(own, module)

    @torch.no_grad()
    def _copy(self, weights: dict[str, torch.Tensor], module: torch.nn.Module) -> None:
        for name, parameter in module.named_parameters():
            parameter.copy_(weights[name])

    def load(self, shadow: dict[str, torch.Tensor], updates: int) -> None:
        """Go on from a stored average.

        Raises:
            KeyError: `shadow` lacks a parameter.
        """
        self.updates = updates
        for name, tensor in self.shadow.items():
            tensor.copy_(shadow[name])
