"""DDIM (Song et al. 2010.02502), written with x0 and epsilon as in the paper."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.diffusion.samplers.base import Sampler, StepOutput
from nadir.diffusion.samplers.noise_level import (
    Evaluation,
    Generators,
    share_of_noise,
    standard_normal,
)

if TYPE_CHECKING:
    from torch import Tensor


class DDIMSampler(Sampler):
    """z' = alpha' x0 + sqrt(varsigma'^2 - std^2) epsilon + std noise; equal to Euler at eta 0."""

    name = "ddim"
    _eta = 0.0

    def step(  # type: ignore[override] # pipelines look for `eta` in the signature
        self,
        model_output: Tensor,
        timestep: float | Tensor,
        sample: Tensor,
        eta: float = 0.0,
        generator: Generators = None,
        return_dict: bool = True,
    ) -> StepOutput | tuple[Tensor, Tensor]:
        """As `Sampler.step`; `eta` is the share of fresh noise, 0 to 1 (DDPM's posterior)."""
        self._eta = share_of_noise(eta)
        return self._step(model_output, timestep, sample, generator, return_dict=return_dict)

    def _advance(
        self, evaluation: int, made: Evaluation, x0: Tensor, generator: Generators
    ) -> Tensor:
        here, to = made.level, self._levels[evaluation + 1]
        # eta sqrt((1 - abar') / (1 - abar) (1 - abar / abar')); abar = 0 at infinite sigma
        part = 1 - (here.alpha / to.alpha) ** 2
        std = self._eta * to.varsigma / here.varsigma * math.sqrt(part)
        # sqrt(varsigma'^2 - std^2) without the difference, which near eta = 1 loses half the digits
        kept = math.sqrt((1 - self._eta) * (1 + self._eta))
        direction = to.varsigma * math.hypot(kept, self._eta * to.sigma / here.sigma)
        moved = to.alpha * x0 + direction * made.epsilon
        if std == 0:
            return moved
        return moved + std * standard_normal(moved, generator)
