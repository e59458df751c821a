"""Muon: momentum whose update is orthogonalised, so that weak directions learn as fast as strong.

After Keller Jordan et al. (2024, https://kellerjordan.github.io/posts/muon). PyTorch's own takes
matrices only; this one takes convolutions as well, as matrices of output channel by the rest. The
tiny VAE learns colour with it in a few hundred steps, where AdamW needs thousands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

# The quintic that drives all singular values to about 1 in five rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Muon with Nesterov momentum, for weights of two or more dimensions.

    Args:
        parameters: Weights; dimension 0 is the output.
        lr: Learning rate: about the spectral norm of one update.
        momentum: Decay of the running gradient.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter], *, lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(list(parameters), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all weights that have a gradient; `closure` is not supported."""
        if closure is not None:
            msg = "Muon takes no closure"
            raise ValueError(msg)
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, weight.grad, group["lr"], group["momentum"])

    def _update(
        self, weight: torch.nn.Parameter, gradient: torch.Tensor, lr: float, momentum: float
    ) -> None:
        state = self.state[weight]
        running = state.setdefault("momentum", torch.zeros_like(gradient))
        running.lerp_(gradient, 1.0 - momentum)
        update = orthogonalise(gradient.lerp(running, momentum).flatten(1))
        rows, columns = update.shape
        weight.sub_(update.view_as(weight), alpha=lr * max(1.0, rows / columns) ** 0.5)


def orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """The matrix with all its singular values brought near 1, by Newton-Schulz iteration.

    Args:
        matrix: [m, n], not all zero.
    """
    wide: torch.Tensor = matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix
    wide = wide / (wide.norm() + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = wide @ wide.mT
        wide = a * wide + (b * gram + c * gram @ gram) @ wide
    result: torch.Tensor = wide.mT if matrix.shape[0] > matrix.shape[1] else wide
    return result
