"""The moving average of the weights, which is what a training publishes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


class WeightAverage:
    """Exponential moving average of trained weights, kept in float32.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): a young average follows quickly
    instead of dragging the initial weights along.

    Args:
        weights: The parameters to follow, by name, where they lie for good.
        decay: Share of the average that stays at each update; 0 follows the weights exactly.
    """

    def __init__(self, weights: dict[str, torch.nn.Parameter], decay: float) -> None:
        self._weights = weights
        self.decay = decay
        self.updates = 0
        self.shadow = {
            name: parameter.detach().to(torch.float32, copy=True)
            for name, parameter in weights.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        present = [parameter.detach().float() for parameter in self._weights.values()]
        torch._foreach_lerp_(list(self.shadow.values()), present, 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the parameters hold the average; afterwards their own values again."""
        own = {name: parameter.detach().clone() for name, parameter in self._weights.items()}
        copy_weights(self.shadow, self._weights)
        try:
            yield
        finally:
            copy_weights(own, self._weights)

    def load(self, shadow: dict[str, torch.Tensor], updates: int) -> None:
        """Go on from a stored average.

        Raises:
            KeyError: `shadow` lacks a parameter.
        """
        self.updates = updates
        for name, tensor in self.shadow.items():
            tensor.copy_(shadow[name])


@torch.no_grad()
def copy_weights(source: dict[str, torch.Tensor], target: dict[str, torch.nn.Parameter]) -> None:
    """Give every parameter of `target` the value of its name in `source`.

    Raises:
        KeyError: `source` lacks a parameter.
    """
    for name, parameter in target.items():
        parameter.copy_(source[name])
