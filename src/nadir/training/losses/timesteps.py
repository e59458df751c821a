"""Which timesteps a batch trains: a distribution, drawn by strata.

Timestep t of T holds the stretch [t / T, (t + 1) / T) of x from 0 to 1, on which the distributions
are defined. A batch takes one number from each of B equal strata of (0, 1) and looks up the
timestep at which the cumulative probability exceeds it, so stratification survives every
distribution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from nadir.config.objective import BetaTimesteps, LogitNormalTimesteps
from nadir.ground.errors import NadirError
from nadir.training.randomness import stratified_timesteps, stratified_uniforms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.config.objective import TimestepParams
    from nadir.diffusion.schedule import NoiseSchedule

    Floats = NDArray[np.float64]


class TimestepSampler:
    """Draws the timesteps of a batch.

    Args:
        params: `train.timesteps`.
        schedule: Its number of timesteps, and its sigmas for a shift by resolution.

    Raises:
        NadirError: The range holds no timestep that the distribution ever draws.
    """

    def __init__(self, params: TimestepParams, schedule: NoiseSchedule) -> None:
        self._params = params
        self._schedule = schedule
        self._by_area: dict[int, Floats] = {}
        self.is_uniform = (
            params.distribution == "uniform"
            and (params.min, params.max) == (0, 1)
            and params.shift is None
        )
        self._edges(params.shift or 1)  # so that a range without timesteps is refused at the start

    def draw(self, seed: int, step: int, batch_size: int, area_px: int) -> torch.Tensor:
        """Timesteps of the whole batch at `step`, each position distributed alike.

        Args:
            seed: The run's seed.
            step: Optimizer step, from 0.
            batch_size: Images of the batch.
            area_px: Width times height of its bucket.

        Returns:
            timesteps_B, int64.
        """
        if self.is_uniform:
            return stratified_timesteps(seed, step, batch_size, self._schedule.num_timesteps)
        places = stratified_uniforms(seed, step, batch_size)
        found = np.searchsorted(self._edges(area_px)[1:], places, side="right")
        return torch.from_numpy(found.astype(np.int64))

    def probabilities(self, area_px: int) -> torch.Tensor:
        """[T] float64: how likely each timestep is in a bucket of this area."""
        if self.is_uniform:
            count = self._schedule.num_timesteps
            return torch.full((count,), 1 / count, dtype=torch.float64)
        return torch.from_numpy(np.diff(self._edges(area_px)))

    def _edges(self, area_px: int) -> Floats:
        """[T + 1] cumulative probability before each timestep; the last is 1."""
        shift = self._params.shift
        factor = (area_px / shift) ** 0.5 if shift else 1.0
        if area_px not in self._by_area:
            places = _shifted_places(self._schedule, factor)
            self._by_area[area_px] = self._within_range(_cumulative(self._params, places))
        return self._by_area[area_px]

    def _within_range(self, cumulative: Floats) -> Floats:
        """The distribution on condition that the timestep lies within `min` and `max`."""
        count = self._schedule.num_timesteps
        first, end = round(self._params.min * count), round(self._params.max * count)
        low, high = cumulative[first], cumulative[end]
        if not high > low:
            raise NadirError(
                f"no timestep from {first} to before {end} of {count} is ever drawn",
                where="params.yaml train.timesteps",
                fix="widen min and max, or move the distribution there",
            )
        return np.asarray(np.clip((cumulative - low) / (high - low), 0.0, 1.0))


def _cumulative(params: TimestepParams, x: Floats) -> Floats:
    """P(X < x) of the distribution on 0 to 1."""
    from scipy.special import betainc, logit, ndtr

    if isinstance(params, LogitNormalTimesteps):
        return np.asarray(ndtr((logit(x) - params.mean) / params.std), np.float64)
    if isinstance(params, BetaTimesteps):
        return np.asarray(betainc(params.alpha, params.beta, x), np.float64)
    return x


def _shifted_places(schedule: NoiseSchedule, factor: float) -> Floats:
    """[T + 1]: where on 0 to 1 the edges of the timesteps lay before sigmas grew `factor` times.

    Timestep t stands in the middle of its stretch, at t + 1/2; between timesteps sigma is the
    schedule's own, and half a step beyond its finite ends it goes on log-linearly.
    """
    count = schedule.num_timesteps
    if factor == 1:
        return np.arange(count + 1) / count
    inner = schedule.sigma(torch.arange(count - 1, dtype=torch.float64) + 0.5) / factor
    sigmas = schedule.sigmas
    places = schedule.timestep(inner).numpy() + 0.5
    # A schedule without infinite end has a last sigma that others may be beyond.
    below, above = (inner < sigmas[0]).numpy(), (inner > sigmas[-1]).numpy()
    first, last = (sigmas[1] / sigmas[0]).log(), (sigmas[-1] / sigmas[-2]).log()
    places = np.where(below, 0.5 + ((inner / sigmas[0]).log() / first).numpy(), places)
    if above.any():
        places = np.where(above, count - 0.5 + ((inner / sigmas[-1]).log() / last).numpy(), places)
    return np.concatenate([[0.0], np.clip(places / count, 0.0, 1.0), [1.0]])
