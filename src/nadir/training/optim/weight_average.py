"""The moving average of the weights, which is what a training publishes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import torch

from nadir.ground.chance import Stream
from nadir.training.optim.rounding import rounded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


class WeightAverage:
    """Exponential moving average of trained weights.

    After n updates the decay is min(decay, (1 + n) / (10 + n)): a young average follows quickly
    instead of dragging the initial weights along.

    In bfloat16 it is rounded by chance (see `rounded`), as its small changes would else be lost.

    Args:
        weights: The parameters to follow, by name, where they lie for good.
        decay: Share of the average that stays at each update; 0 follows the weights exactly.
        dtype: float32 or bfloat16.
        device: Where it lies; None puts it beside the weights.
        seed: Of rounding.
    """

    def __init__(
        self,
        weights: dict[str, torch.nn.Parameter],
        decay: float,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
        seed: int = 0,
    ) -> None:
        self._weights = weights
        self._seed = seed
        self._place = {name: index for index, name in enumerate(weights)}
        self.decay = decay
        self.updates = 0
        self.shadow = {
            name: parameter.detach().to(device or parameter.device, dtype, copy=True)
            for name, parameter in weights.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take the present weights into the average."""
        self.begin()
        shadow = list(self.shadow.values())
        if all(_is_alike(mean, own) for mean, own in self._pairs()):
            present = [parameter.detach().float() for parameter in self._weights.values()]
            torch._foreach_lerp_(shadow, present, self._share)
            return
        for name, parameter in self._weights.items():
            self.update_one(name, parameter.detach().float())

    def begin(self) -> None:
        """Start an update that comes parameter by parameter, by `update_one`."""
        self.updates += 1

    @torch.no_grad()
    def update_one(self, name: str, value: torch.Tensor) -> None:
        """Take one parameter's present value, in float32, into the average."""
        shadow = self.shadow[name]
        value = value.to(shadow.device)
        if shadow.dtype == torch.float32:
            shadow.lerp_(value, self._share)
            return
        mean, place = shadow.float().lerp_(value, self._share), self._place[name]
        shadow.copy_(
            rounded(mean, seed=self._seed, stream=Stream.AVERAGE, step=self.updates, place=place)
        )

    def _pairs(self) -> Iterator[tuple[torch.Tensor, torch.nn.Parameter]]:
        return zip(self.shadow.values(), self._weights.values(), strict=True)

    @property
    def _share(self) -> float:
        """What the present value counts."""
        return 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the parameters hold the average; afterwards their own values again."""
        own = host_copies(self._weights)
        copy_weights(self.shadow, self._weights)
        try:
            yield
        finally:
            copy_weights(own, self._weights)

    def load(self, shadow: Mapping[str, torch.Tensor], updates: int) -> None:
        """Go on from a stored average.

        Raises:
            KeyError: `shadow` lacks a parameter.
        """
        self.updates = updates
        for name, tensor in self.shadow.items():
            tensor.copy_(shadow[name])


def host_copies(weights: dict[str, torch.nn.Parameter]) -> dict[str, torch.Tensor]:
    """Values of the parameters in the host's memory, where there is more of it."""
    return {name: weight.detach().to("cpu", copy=True) for name, weight in weights.items()}


@torch.no_grad()
def copy_weights(
    source: Mapping[str, torch.Tensor], target: Mapping[str, torch.nn.Parameter]
) -> None:
    """Give every parameter of `target` the value of its name in `source`.

    Raises:
        KeyError: `source` lacks a parameter.
    """
    for name, parameter in target.items():
        parameter.copy_(source[name])


def _is_alike(shadow: torch.Tensor, weight: torch.Tensor) -> bool:
    return shadow.dtype == torch.float32 and shadow.device == weight.device
