"""Settings in diffusers' vocabulary: for its pipelines, and for a checkpoint's scheduler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.diffusion.schedule import NoiseSchedule

if TYPE_CHECKING:
    from collections.abc import Mapping

PREDICTION_TYPES = {"v": "v_prediction", "epsilon": "epsilon", "x0": "sample"}


class SamplerConfig(dict[str, Any]):
    """A dict whose entries are attributes too, as pipelines expect of `scheduler.config`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def sampler_config(schedule: NoiseSchedule, *, prediction: str, name: str) -> SamplerConfig:
    """Settings from which any diffusers scheduler builds the same table by `from_config`."""
    return SamplerConfig(
        _common(schedule, prediction), sampler=name, trained_betas=_betas(schedule)
    )


def diffusers_scheduler_config(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Contents of `scheduler_config.json` with which plain diffusers samples a checkpoint right.

    The class is Euler: its clamped terminal sigma of 4096 costs 0.02 of the picture's deviation
    for any number of steps, while diffusers' DDIM is exact when the number divides the timesteps
    and off by 0.1 to 0.2 when it does not, 28 for one (bench/stock_scheduler.py). Settings of
    the other classes are there as well, so that a scheduler exchanged by `from_config` gets the
    same table.

    Args:
        settings: The fields of the parameter section `noise`. A shifted schedule cannot be
            described by its end points and becomes a table of betas.

    Raises:
        NadirError: Settings that make no schedule.
    """
    schedule = NoiseSchedule.from_settings(**settings)
    config = {"_class_name": "EulerDiscreteScheduler", **_common(schedule, settings["prediction"])}
    config |= {name: settings[name] for name in ("beta_start", "beta_end", "beta_schedule")}
    config["trained_betas"] = None if settings["sigma_shift"] == 1 else _betas(schedule)
    return config


def _common(schedule: NoiseSchedule, prediction: str) -> dict[str, Any]:
    return {
        "num_train_timesteps": schedule.num_timesteps,
        "prediction_type": PREDICTION_TYPES[prediction],
        "rescale_betas_zero_snr": schedule.is_zero_terminal,
        "timestep_spacing": "trailing",
        "steps_offset": 0,
        "interpolation_type": "linear",
        "final_sigmas_type": "zero",
        "use_karras_sigmas": False,
        "clip_sample": False,
        "set_alpha_to_one": True,
    }


def _betas(schedule: NoiseSchedule) -> list[float]:
    return [float(beta) for beta in schedule.betas.tolist()]
