"""The error of the network's output, element by element, before any weight.

Pseudo-Huber losses are Khrapov et al. 2403.16728, whose delta falls with the noise level so that
outliers among the images weigh less; forms and schedules are those of sd-scripts:

    mse        e^2
    huber      2 d (sqrt(e^2 + d^2) - d)     e^2 where |e| << d
    smooth_l1  2 (sqrt(e^2 + d^2) - d)       2 |e| where |e| >> d

    constant     d = delta
    exponential  d = delta^(t / T)
    snr          d = delta + (1 - delta) / (1 + sigma)^2
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from nadir.compute.devices import sent
from nadir.config.objective import PseudoHuberLoss

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.config.objective import LossParams
    from nadir.diffusion.schedule import NoiseSchedule

    ErrorFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    """(difference_BCHW, timesteps_B on the CPU) -> error_BCHW"""


def error_function(params: LossParams, schedule: NoiseSchedule) -> ErrorFunction:
    """What `train.loss` names."""
    if not isinstance(params, PseudoHuberLoss):
        return lambda difference_BCHW, _: difference_BCHW.square()
    deltas_T = huber_deltas(params, schedule)
    is_huber = params.kind == "huber"

    def pseudo_huber(difference_BCHW: torch.Tensor, timesteps_B: torch.Tensor) -> torch.Tensor:
        delta_B = deltas_T[timesteps_B].to(difference_BCHW.dtype)
        delta_B111 = sent(delta_B, difference_BCHW.device)[:, None, None, None]
        # sqrt(e^2 + d^2) - d without cancellation.
        square = difference_BCHW.square()
        beyond = square / ((square + delta_B111.square()).sqrt() + delta_B111)
        return 2 * delta_B111 * beyond if is_huber else 2 * beyond

    return pseudo_huber


def huber_deltas(params: PseudoHuberLoss, schedule: NoiseSchedule) -> torch.Tensor:
    """[T] float64: d of every timestep."""
    count, delta = schedule.num_timesteps, params.delta
    if params.schedule == "exponential":
        return delta ** (torch.arange(count, dtype=torch.float64) / count)
    if params.schedule == "snr":
        return delta + (1 - delta) / (1 + schedule.sigmas).square()
    return torch.full((count,), delta, dtype=torch.float64)
