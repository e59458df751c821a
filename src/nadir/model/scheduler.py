"""The scheduler that stock diffusers samples a checkpoint with, and how to read one.

What it is told stands in one place, `diffusion.samplers.config.diffusers_scheduler_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from diffusers import EulerDiscreteScheduler

from nadir.diffusion.samplers.config import PREDICTION_TYPES, diffusers_scheduler_config
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping

_FROM_DIFFUSERS = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()}


def stock_scheduler(noise: Mapping[str, Any]) -> EulerDiscreteScheduler:
    """The diffusers scheduler of the parameter section `noise`.

    Args:
        noise: The values of `NoiseParams`.

    Raises:
        NadirError: Values that make no schedule.
    """
    return EulerDiscreteScheduler.from_config(diffusers_scheduler_config(noise))


def noise_of_scheduler(config: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """The parameter section `noise` that a diffusers scheduler configuration amounts to.

    Args:
        config: The content of a `scheduler_config.json`.
        where: What to name in errors.

    Raises:
        NadirError: It describes a process that Nadir does not know.
    """
    prediction = config.get("prediction_type", "epsilon")
    schedule = config.get("beta_schedule", "linear")
    if (
        prediction not in _FROM_DIFFUSERS
        or schedule not in ("scaled_linear", "linear")
        or config.get("trained_betas") is not None
    ):
        raise NadirError(
            f"the scheduler predicts {prediction} on {schedule} betas, which is not SDXL's process",
            where=where,
            fix="name an SDXL checkpoint with epsilon, v or sample prediction on linear betas",
        )
    return {
        "prediction": _FROM_DIFFUSERS[prediction],
        "zero_terminal_snr": bool(config.get("rescale_betas_zero_snr", False)),
        "beta_schedule": schedule,
        "beta_start": float(config.get("beta_start", 0.0001)),
        "beta_end": float(config.get("beta_end", 0.02)),
        "timesteps": int(config.get("num_train_timesteps", 1000)),
        "sigma_shift": 1.0,
    }
