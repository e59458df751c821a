"""Heun's method: a second evaluation at the end of each step, and the mean of both slopes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.diffusion.samplers.base import Sampler
from nadir.diffusion.samplers.euler import euler_move

if TYPE_CHECKING:
    from torch import Tensor

    from nadir.diffusion.samplers.noise_level import Evaluation, Generators


class HeunSampler(Sampler):
    """Second order, deterministic, 2n - 1 evaluations in n steps; the last step is Euler.

    Evaluations come as in diffusers' own: level 0, then every further level twice, first to
    correct the step into it and then to leave it, so that pipelines cut image-to-image runs at
    the right place. The step from infinite sigma has no correction (a mean of slopes there
    diverges): its second evaluation leaves the sample as it is.
    """

    name = "heun"
    order = 2
    _opened: tuple[Evaluation, Tensor] | None = None  # the step's first evaluation and its x0

    def _forget(self) -> None:
        self._opened = None

    def _evaluated(self, nodes: Tensor) -> Tensor:
        return nodes.repeat_interleave(2)[1:]

    def _level_index(self, evaluation: int) -> int:
        return (evaluation + 1) // 2

    def _advance(
        self,
        evaluation: int,
        made: Evaluation,
        x0: Tensor,
        generator: Generators,  # noqa: ARG002
    ) -> Tensor:
        if evaluation % 2:
            return self._correct(made)
        self._opened = (made, x0)
        return euler_move(made, x0, self._levels[evaluation // 2 + 1])

    def _correct(self, made: Evaluation) -> Tensor:
        """Take y + (sigma' - sigma) (epsilon + epsilon') / 2, without large terms that cancel."""
        opened, self._opened = self._opened, None
        if opened is None or math.isinf(opened[0].level.sigma):
            return made.noisy_BCHW
        first, x0 = opened
        here, epsilon, next_epsilon = made.level, first.epsilon, made.epsilon
        # y = x0 + sigma epsilon at the step's start, so y + (sigma' - sigma) mean is
        # x0 + sigma (epsilon - mean) + sigma' mean, and epsilon - mean is half their difference.
        # Times alpha' it is z', with alpha' sigma' = varsigma'.
        mean = (epsilon + next_epsilon) / 2
        change = (epsilon - next_epsilon) / 2
        return here.alpha * (x0 + first.level.sigma * change) + here.varsigma * mean
