"""A loss weight that is learned: the uncertainty u(sigma) of Karras et al. 2312.02696 (EDM2).

The loss of a noise level becomes exp(-u) L + u, whose minimum over u is u = ln E[L]: each level
then weighs by how much there still is to learn at it. u is linear in Fourier features of
ln(sigma) / 4, begins at 0, where the loss is L itself, and is left out of the published model.

Its gradient and the network's do not mix: with respect to u it is 1 - exp(-u) L. So it is computed
here from the finished errors, and neither loss scaling, clipping nor an optimizer that steps
inside the backward pass can touch it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from nadir.compute.devices import sent

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.config.objective import LearnedWeightParams
    from nadir.diffusion.schedule import NoiseSchedule

_INFINITE_SIGMA = 20_000.0  # "practically infinite" in the paper's appendix A.2


class LearnedWeight:
    """u(sigma) and the optimizer that trains it.

    Args:
        params: Features and learning rate.
        schedule: Its sigmas; the infinite one counts as 20000.
        device: Where errors are.
    """

    def __init__(
        self, params: LearnedWeightParams, schedule: NoiseSchedule, device: torch.device
    ) -> None:
        features_TF = fourier_features(schedule.sigmas, params.channels)
        self._features_TF = features_TF.to(device, torch.float32)
        self._weight_F = torch.nn.Parameter(torch.zeros(params.channels, device=device))
        self._slope_F = torch.zeros_like(self._weight_F.detach())
        self._optimizer = torch.optim.AdamW(
            [self._weight_F], lr=params.learning_rate, betas=(0.9, 0.99), weight_decay=0.0
        )
        self._parts = 0

    @torch.no_grad()
    def uncertainty(self, timesteps_B: torch.Tensor) -> torch.Tensor:
        """U of each sample [B], float32, without gradient."""
        return self._features(timesteps_B) @ self._weight_F

    @torch.no_grad()
    def observe(
        self, timesteps_B: torch.Tensor, error_B: torch.Tensor, weights_B: torch.Tensor
    ) -> None:
        """Add up the gradient of mean(weights (exp(-u) error + u)) for a part of a batch.

        Args:
            timesteps_B: Of the samples.
            error_B: Their errors, multiplied by the weight by SNR.
            weights_B: Their own weights.
        """
        u_B = self.uncertainty(timesteps_B)
        slope_B = weights_B * (1 - (-u_B).exp() * error_B) / len(error_B)
        self._slope_F += slope_B @ self._features(timesteps_B)
        self._parts += 1

    def step(self, mean: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Make one step with the mean gradient of the parts seen since the last.

        Args:
            mean: Averages a tensor over all processes.
        """
        self._weight_F.grad = mean(self._slope_F / self._parts)
        self._optimizer.step()
        self._slope_F = torch.zeros_like(self._slope_F)
        self._parts = 0

    def state(self) -> dict[str, torch.Tensor]:
        """Everything that a resumed training needs."""
        state = self._optimizer.state_dict()["state"].get(0, {})
        return {"weight": self._weight_F.detach(), **state}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Go on from `state`."""
        moments = {name: value for name, value in state.items() if name != "weight"}
        with torch.no_grad():
            self._weight_F.copy_(state["weight"])
        groups = self._optimizer.state_dict()["param_groups"]
        self._optimizer.load_state_dict(
            {"state": {0: moments} if moments else {}, "param_groups": groups}
        )

    def _features(self, timesteps_B: torch.Tensor) -> torch.Tensor:
        return self._features_TF[sent(timesteps_B, self._features_TF.device)]


def fourier_features(sigmas_T: torch.Tensor, channels: int) -> torch.Tensor:
    """[T, F] float64: sqrt(2 / F) cos(2 pi (f ln(sigma) / 4 + phase)), f normal, phase uniform.

    They belong to the method and not to a run, so no seed changes them.
    """
    finite_T = torch.where(
        sigmas_T.isinf(), max(_INFINITE_SIGMA, 2 * float(sigmas_T[-2])), sigmas_T
    )
    rng = np.random.Generator(np.random.Philox(key=0))
    frequencies_F = torch.from_numpy(rng.standard_normal(channels))
    phases_F = torch.from_numpy(rng.random(channels))
    angle_TF = finite_T.log()[:, None] / 4 * frequencies_F + phases_F
    return math.sqrt(2 / channels) * (2 * math.pi * angle_TF).cos()
