"""The scheduler configuration that stock diffusers needs to sample a checkpoint rightly."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import DDIMScheduler

from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TO_DIFFUSERS = {"v": "v_prediction", "epsilon": "epsilon", "x0": "sample"}
_FROM_DIFFUSERS = {theirs: ours for ours, theirs in _TO_DIFFUSERS.items()}


def stock_scheduler(noise: Mapping[str, Any]) -> DDIMScheduler:
    """The diffusers scheduler of the parameter section `noise`.

    It is DDIM, because diffusers' Euler and DPM-Solver clamp the terminal SNR to a finite sigma of
    4096, while DDIM takes the step from pure noise exactly; its eta = 0 is Euler's method. Other
    classes read the same configuration. Spacing is `trailing`, which starts at the last timestep.

    Args:
        noise: The values of `NoiseParams`.
    """
    betas = None
    if noise["sigma_shift"] != 1.0:
        # Diffusers cannot shift sigmas, so it gets the finished table.
        alphas = NoiseSchedule.from_settings(**noise).alphas_cumprod
        previous = torch.cat([alphas.new_ones(1), alphas[:-1]])
        betas = (1.0 - alphas / previous).tolist()
    return DDIMScheduler(
        num_train_timesteps=noise["timesteps"],
        beta_start=noise["beta_start"],
        beta_end=noise["beta_end"],
        beta_schedule=noise["beta_schedule"],
        trained_betas=betas,
        prediction_type=_TO_DIFFUSERS[noise["prediction"]],
        rescale_betas_zero_snr=noise["zero_terminal_snr"],
        timestep_spacing="trailing",
        clip_sample=False,
        set_alpha_to_one=True,
    )


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
