"""Muon for the weights that are matrices, AdamW for the rest, under one learning rate.

After Keller Jordan et al. (2024, https://kellerjordan.github.io/posts/muon). PyTorch's own takes
matrices only; this one takes convolutions as well, as matrices of output channel by the rest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch.optim.adamw import adamw

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from torch import Tensor
    from torch.nn import Parameter

# The quintic that drives all singular values to about 1 in five rounds.
_QUINTIC = (3.4445, -4.7750, 2.0315)
_ROUNDS = 5
_MOMENTUM = 0.95
# An orthogonal [m, n] matrix has entries of RMS 1 / sqrt(max(m, n)); scaled by this and by
# sqrt(max(m, n)) they are as large as AdamW's usual ones, so one learning rate serves both
# (Liu et al. 2502.16982, section 2.2).
_ADAMW_RMS = 0.2
# The output layer has fewer rows (4 latent channels): too thin to have directions to balance.
_FEWEST = 8
_MOST_NUMBERS = 1 << 26  # in one product of many matrices: a quarter of a gigabyte


class MuonAdamW(torch.optim.Optimizer):
    """Muon on linear and convolution weights, AdamW on all others.

    Momentum, then the nearest orthogonal matrix, so directions of small gradient learn as fast as
    those of large.

    Args:
        parameters: All parameters of the network, or groups of them with their own settings; of
            `weight_decay` the optimizer's own holds.
        lr: Learning rate, of both parts.
        betas: AdamW's; Muon's momentum is 0.95.
        weight_decay: Decoupled decay of weights of two or more dimensions.
    """

    def __init__(
        self,
        parameters: Iterable[Parameter] | Iterable[dict[str, Any]],
        *,
        lr: float,
        betas: tuple[float, float],
        weight_decay: float,
    ) -> None:
        given = list(parameters)
        groups: Any = given if given and isinstance(given[0], dict) else [{"params": given}]
        split = [part for group in groups for part in _split(group, weight_decay)]
        super().__init__(split, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient; `closure` is not supported."""
        if closure is not None:
            msg = "MuonAdamW takes no closure"
            raise ValueError(msg)
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not group["muon"]:
                self._adamw(weights, group)
                continue
            for weight in weights:
                weight.mul_(1 - group["lr"] * group["weight_decay"])
            for alike in _alike(weights):
                self._muon(alike, group["lr"])

    def _muon(self, weights: list[Parameter], rate: float) -> None:
        """Update weights that are matrices of one shape, all at once."""
        updates = torch.stack([self._momentum(weight).flatten(1) for weight in weights])
        size = _ADAMW_RMS * max(updates.shape[1:]) ** 0.5
        for weight, update in zip(weights, orthogonalise(updates), strict=True):
            weight.sub_(update.view_as(weight), alpha=rate * size)

    def _momentum(self, weight: Parameter) -> Tensor:
        """The gradient, smoothed over the steps before (Nesterov)."""
        gradient, state = cast("Tensor", weight.grad), self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        running = state["momentum"].lerp_(gradient, 1 - _MOMENTUM)
        return torch.lerp(gradient, running, _MOMENTUM)

    def _adamw(self, weights: list[Parameter], group: dict[str, Any]) -> None:
        states = [self.state[weight] for weight in weights]
        for weight, state in zip(weights, states, strict=True):
            if not state:
                state["step"] = torch.zeros((), device=weight.device)
                state["exp_avg"] = torch.zeros_like(weight)
                state["exp_avg_sq"] = torch.zeros_like(weight)
        if not weights:
            return
        adamw(
            cast("list[Tensor]", weights),
            [cast("Tensor", weight.grad) for weight in weights],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            max_exp_avg_sqs=[],
            state_steps=[state["step"] for state in states],
            fused=True,
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=1e-8,
            maximize=False,
        )


def _split(group: dict[str, Any], weight_decay: float) -> Iterator[dict[str, Any]]:
    """A group's matrices, which Muon changes, its thin matrices and its vectors."""
    kinds: dict[str, list[Parameter]] = {"matrices": [], "thin": [], "vectors": []}
    for parameter in group["params"]:
        if parameter.ndim < 2:
            kinds["vectors"].append(parameter)
        else:
            is_thin = min(parameter.flatten(1).shape) < _FEWEST
            kinds["thin" if is_thin else "matrices"].append(parameter)
    for kind, members in kinds.items():
        decay = 0.0 if kind == "vectors" else weight_decay
        if members:
            yield group | {"params": members, "muon": kind == "matrices", "weight_decay": decay}


def _alike(weights: list[Parameter]) -> Iterator[list[Parameter]]:
    """Weights that are matrices of one shape together, but not too many at once."""
    groups: dict[torch.Size, list[Parameter]] = {}
    for weight in weights:
        groups.setdefault(weight.flatten(1).shape, []).append(weight)
    for shape, members in groups.items():
        count = max(1, _MOST_NUMBERS // shape.numel())
        for start in range(0, len(members), count):
            yield members[start : start + count]


def orthogonalise(matrices: Tensor) -> Tensor:
    """Matrices with all their singular values brought near 1, by Newton-Schulz iteration.

    Every round multiplies by a polynomial of the Gram matrix, and such polynomials commute. So the
    rounds work on the small Gram matrix alone, and the matrix itself is multiplied once.

    Args:
        matrices: [B, m, n], none all zero.
    """
    # X <- a X + (b A + c A^2) X with A = X X^T maps a singular value s to a s + b s^3 + c s^5. As
    # F(A) X with F = a + b A + c A^2, five rounds are F5 F4 F3 F2 F1 X, and the next Gram matrix is
    # F A F^T = F F A, since F is symmetric and commutes with A.
    upright = matrices.shape[-2] > matrices.shape[-1]
    wide = matrices.mT if upright else matrices
    # By its Frobenius norm: no singular value is above 1, where the polynomial would diverge.
    wide = wide / (torch.linalg.matrix_norm(wide, keepdim=True) + 1e-7)
    gram = wide @ wide.mT
    product = factor = _round(gram)
    for _ in range(_ROUNDS - 1):
        gram = factor @ (factor @ gram)
        factor = _round(gram)
        product = factor @ product
    result: Tensor = product @ wide
    return result.mT if upright else result


def _round(gram: Tensor) -> Tensor:
    """What a round multiplies by, [B, m, m], given the Gram matrices at its start."""
    a, b, c = _QUINTIC
    factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
    factor.diagonal(dim1=-2, dim2=-1).add_(a)
    return factor
