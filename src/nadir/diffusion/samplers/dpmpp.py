"""DPM-Solver++(2M) (Lu et al. 2211.01095) and its SDE form, with k-diffusion's rules.

lambda = -ln sigma, h = ln(sigma / sigma'). A step from infinite sigma has h = inf: it is first
order, and its x0 does not enter the history, for a difference quotient over an infinite step is
not a derivative.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.diffusion.samplers.base import Sampler
from nadir.diffusion.samplers.euler import euler_move
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


class DPMpp2MSampler(Sampler):
    """Second order, one evaluation per step, deterministic; the last step is first order."""

    name = "dpmpp_2m"
    _last: tuple[Tensor, float] | None = None  # x0 and sigma of the evaluation before

    def _forget(self) -> None:
        self._last = None

    def _slope(self, made: Evaluation, x0: Tensor, to: NoiseLevel) -> Tensor | None:
        """(x0 - last x0) / r with r = h_last / h; None where the step is first order."""
        last, sigma = self._last, made.level.sigma
        self._last = None if math.isinf(sigma) else (x0, sigma)
        if last is None or to.sigma == 0:
            return None
        last_x0, last_sigma = last
        # h_last = ln(last / here) and h = ln(here / next). The difference quotient of x0 over
        # lambda is (x0 - last x0) / h_last; times h it is the change of x0 over the coming step.
        r = math.log(last_sigma / sigma) / math.log(sigma / to.sigma)
        return (x0 - last_x0) / r

    def _advance(
        self,
        evaluation: int,
        made: Evaluation,
        x0: Tensor,
        generator: Generators,  # noqa: ARG002
    ) -> Tensor:
        to = self._levels[evaluation + 1]
        slope = self._slope(made, x0, to)
        # Half of the change: the exact solution's mean x0 over the step, to second order.
        return euler_move(made, x0 if slope is None else x0 + slope / 2, to)


class DPMpp2MSDESampler(DPMpp2MSampler):
    """2M of the reverse SDE, midpoint form.

    Args:
        schedule: See `Sampler`.
        prediction: See `Sampler`.
        spacing: See `Sampler`.
        start_sigma: See `Sampler`.
        eta: Share of fresh noise, 0 (2M) to 1 (the reverse SDE).
    """

    name = "dpmpp_2m_sde"

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
        here, to = made.level, self._levels[evaluation + 1]
        slope = self._slope(made, x0, to)
        ratio = to.sigma / here.sigma  # exp(-h); 0 both from infinity and to 0
        decay = math.pow(ratio, self.eta)  # exp(-eta h)
        better = x0 if slope is None else x0 + slope / 2
        # z' = (varsigma' / varsigma) e^(-eta h) z + alpha' (1 - e^(-(1 + eta) h)) x0
        #      + varsigma' sqrt(1 - e^(-2 eta h)) n, with n standard normal.
        kept = to.varsigma / here.varsigma * decay
        moved = kept * made.noisy_BCHW + to.alpha * (1 - ratio * decay) * better
        std = to.varsigma * math.sqrt(1 - decay**2)
        if std == 0:
            return moved
        return moved + std * standard_normal(moved, generator)
