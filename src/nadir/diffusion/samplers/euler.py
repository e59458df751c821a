"""Euler, plain and ancestral (k-diffusion's rules, in VP scale)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.diffusion.samplers.base import Sampler
from nadir.diffusion.samplers.noise_level import (
    Evaluation,
    Generators,
    share_of_noise,
    standard_normal,
)

if TYPE_CHECKING:
    from torch import Tensor

    from nadir.diffusion.samplers.noise_level import NoiseLevel
    from nadir.diffusion.schedule import NoiseSchedule


def euler_move(made: Evaluation, x0: Tensor, to: NoiseLevel, sigma: float | None = None) -> Tensor:
    """Move to y' = (sigma' / sigma) y + (1 - sigma' / sigma) D, times the alpha of the level `to`.

    From infinite sigma this is the exact first step sigma' n + D(inf) of the paper's App. A.

    Args:
        made: The evaluation to move from.
        x0: Its denoised sample D, or a multistep rule's better one.
        to: The level whose scale the result has.
        sigma: sigma' if it is not that of `to`.
    """
    sigma = to.sigma if sigma is None else sigma
    # The step on y = z / alpha, times alpha' of the next level: the share of z that is kept is
    # alpha' sigma' / (alpha sigma), and alpha sigma is varsigma, which is 1 at infinity. The share
    # of D is alpha' (1 - sigma' / sigma), where the ratio is 0 at infinity. So nothing is infinite.
    kept = to.alpha * sigma / made.level.varsigma
    return kept * made.noisy_BCHW + to.alpha * (1 - sigma / made.level.sigma) * x0


class EulerSampler(Sampler):
    """First order, deterministic."""

    name = "euler"

    def _advance(
        self,
        evaluation: int,
        made: Evaluation,
        x0: Tensor,
        generator: Generators,  # noqa: ARG002
    ) -> Tensor:
        return euler_move(made, x0, self._levels[evaluation + 1])


def ancestral_split(sigma: float, next_sigma: float, eta: float) -> tuple[float, float]:
    """(sigma_down, sigma_up) with sigma_down^2 + sigma_up^2 = next_sigma^2.

    sigma_up = eta next sqrt(1 - (next / sigma)^2): the posterior's deviation at eta = 1, and eta
    times `next_sigma` from infinite sigma. sigma_down is written without the difference of two
    squares, which near eta = 1 would keep half the digits only.
    """
    ratio = next_sigma / sigma
    up = eta * next_sigma * math.sqrt((1 - ratio) * (1 + ratio))
    return next_sigma * math.hypot(math.sqrt((1 - eta) * (1 + eta)), eta * ratio), up


class EulerAncestralSampler(Sampler):
    """Euler to a lower sigma, then fresh noise up to the next one.

    Args:
        schedule: See `Sampler`.
        prediction: See `Sampler`.
        spacing: See `Sampler`.
        start_sigma: See `Sampler`.
        eta: Share of fresh noise, 0 (Euler) to 1 (the posterior).
    """

    name = "euler_ancestral"

    def __init__(
        self,
        schedule: NoiseSchedule,
        *,
        prediction: str,
        spacing: str = "native",
        start_sigma: float | None = None,
        eta: float = 1.0,
    ) -> None:
        super().__init__(schedule, prediction=prediction, spacing=spacing, start_sigma=start_sigma)
        self.eta = share_of_noise(eta)

    def _advance(
        self, evaluation: int, made: Evaluation, x0: Tensor, generator: Generators
    ) -> Tensor:
        to = self._levels[evaluation + 1]
        down, up = ancestral_split(made.level.sigma, to.sigma, self.eta)
        moved = euler_move(made, x0, to, down)
        if up == 0:
            return moved
        return moved + to.alpha * up * standard_normal(moved, generator)
