"""The scheduler that stock diffusers samples a checkpoint with, and how to read one.

What is written for it stands in one place, `diffusion.samplers.config.diffusers_scheduler_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from diffusers import EulerDiscreteScheduler

from nadir.diffusion.samplers.config import PREDICTION_TYPES, diffusers_scheduler_config
from nadir.diffusion.sdxl import BETA_END, BETA_START, TIMESTEPS
from nadir.ground.errors import NadirError
from nadir.model.recognition.noise_table import settings_of_table

if TYPE_CHECKING:
    from collections.abc import Mapping

STOCK_NOISE: dict[str, Any] = {
    "prediction": "epsilon",
    "zero_terminal_snr": False,
    "beta_schedule": "scaled_linear",
    "beta_start": BETA_START,
    "beta_end": BETA_END,
    "timesteps": TIMESTEPS,
    "sigma_shift": 1.0,
}
"""The noise settings of SDXL base 1.0, which other programs take unless a marker says otherwise."""

_FROM_DIFFUSERS = {theirs: ours for ours, theirs in PREDICTION_TYPES.items()}
# Samplers of the discrete process that betas describe. Any other class (flow matching, EDM,
# consistency models of their own kind) means another process, whatever else its file says.
_DISCRETE = {
    f"{name}Scheduler"
    for name in (
        "DDIM",
        "DDIMInverse",
        "DDIMParallel",
        "DDPM",
        "DDPMParallel",
        "DEISMultistep",
        "DPMSolverMultistep",
        "DPMSolverSDE",
        "DPMSolverSinglestep",
        "EulerAncestralDiscrete",
        "EulerDiscrete",
        "HeunDiscrete",
        "KDPM2AncestralDiscrete",
        "KDPM2Discrete",
        "LCM",
        "LMSDiscrete",
        "PNDM",
        "SASolver",
        "TCD",
        "UniPCMultistep",
    )
}
# What makes a discrete class sample another process, and what that is called.
_OTHER_PROCESSES = {
    "use_flow_sigmas": "flow matching (use_flow_sigmas)",
    "sigma_min": "a range of sigmas of its own (sigma_min)",
    "sigma_max": "a range of sigmas of its own (sigma_max)",
    "trained_sigmas": "sigmas of its own (trained_sigmas)",
}


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
        NadirError: It describes a process that Nadir does not know, or is damaged.
    """
    other = _other_process(config)
    prediction = config.get("prediction_type", "epsilon")
    if str(prediction) not in _FROM_DIFFUSERS:
        other = other or f"{prediction}-prediction"
    if other:
        raise _foreign(other, where)
    try:
        settings = _settings(config)
        settings = _of_betas(config.get("trained_betas"), settings, where)
    except (TypeError, ValueError, OverflowError) as error:
        raise NadirError(
            f"a number of the scheduler is not one ({error})", where=where, fix="get the file again"
        ) from error
    if settings["zero_terminal_snr"] and settings["prediction"] == "epsilon":
        raise NadirError(
            "the scheduler asks for epsilon-prediction with rescale_betas_zero_snr, but at a "
            "signal of zero epsilon says nothing of the picture",
            where=where,
            fix="OneTrainer writes this of a model that predicts v: if it is one, set "
            "prediction_type to v_prediction there; else rescale_betas_zero_snr to false",
        )
    return settings


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without what a table of betas changes."""
    return {
        "prediction": _FROM_DIFFUSERS[config.get("prediction_type", "epsilon")],
        "zero_terminal_snr": bool(config.get("rescale_betas_zero_snr", False)),
        "beta_schedule": config.get("beta_schedule", "linear"),
        "beta_start": float(config.get("beta_start", 0.0001)),
        "beta_end": float(config.get("beta_end", 0.02)),
        "timesteps": int(config.get("num_train_timesteps", TIMESTEPS)),
        "sigma_shift": 1.0,
    }


def _other_process(config: Mapping[str, Any]) -> str | None:
    """What a configuration asks for that is not the discrete process of SDXL."""
    kind = config.get("_class_name")
    if kind is not None and str(kind) not in _DISCRETE:
        return f"the process of {kind}"
    for name, meaning in _OTHER_PROCESSES.items():
        if config.get(name) not in (None, False):
            return meaning
    if config.get("timestep_type", "discrete") != "discrete":
        return f"{config['timestep_type']} timesteps (timestep_type)"
    schedule = config.get("beta_schedule", "linear")
    if schedule not in ("scaled_linear", "linear"):
        return f"{schedule} betas"
    return None


def _of_betas(betas: Any, settings: dict[str, Any], where: str) -> dict[str, Any]:
    """Settings that make a table of betas, which in diffusers wins over start and end."""
    if betas is None:
        return settings
    table = torch.cumprod(1 - torch.tensor(betas, dtype=torch.float64), dim=0)
    found = settings_of_table(table, settings)
    # Diffusers rescales such a table too, but after any shift, which makes another one.
    rescaled = settings["zero_terminal_snr"] and found and not found["zero_terminal_snr"]
    if found is None or (rescaled and found["sigma_shift"] != 1.0):
        raise _foreign("a table of betas of its own (trained_betas)", where)
    return found | {"zero_terminal_snr": found["zero_terminal_snr"] or rescaled}


def _foreign(what: str, where: str) -> NadirError:
    return NadirError(
        f"the scheduler asks for {what}, which is not SDXL's noise process",
        where=where,
        fix="name an SDXL with epsilon-, v- or sample-prediction on linear or scaled-linear betas",
    )
