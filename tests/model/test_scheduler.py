from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import DDIMScheduler
from tests.model.conftest import NOISE

from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.model.checkpoint.scheduler import noise_of_scheduler, stock_scheduler

CASES: list[dict[str, Any]] = [
    {},
    {"zero_terminal_snr": False},
    {"prediction": "epsilon", "zero_terminal_snr": False},
    {"prediction": "x0"},
    {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02},
]


@pytest.mark.parametrize("changes", [*CASES, {"sigma_shift": 2.0}])
def test_stock_diffusers_gets_the_same_alphas_as_training(changes: dict[str, Any]) -> None:
    noise = NOISE | changes
    ours = NoiseSchedule.from_settings(**noise).alphas_cumprod
    theirs = stock_scheduler(noise).alphas_cumprod.double()
    # Diffusers computes in single precision, and its Euler clamps zero to 2**-24.
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-7)
    exact = DDIMScheduler.from_config(stock_scheduler(noise).config).alphas_cumprod.double()
    torch.testing.assert_close(exact, ours, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize("changes", CASES)
def test_a_scheduler_config_is_read_back_as_the_noise_it_came_from(
    changes: dict[str, Any],
) -> None:
    noise = NOISE | changes
    assert noise_of_scheduler(stock_scheduler(noise).config, where="here") == noise


@pytest.mark.parametrize("steps", [25, 28])
def test_sampling_starts_at_the_last_timestep(steps: int) -> None:
    scheduler = stock_scheduler(NOISE)
    scheduler.set_timesteps(steps)
    assert scheduler.timesteps[0] == 999
    assert float(scheduler.sigmas[0]) == pytest.approx(4096, rel=1e-3)


FOREIGN = [
    ({"prediction_type": "flow"}, "flow-prediction"),
    ({"prediction_type": "flow_prediction", "use_flow_sigmas": True}, "flow matching"),
    ({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 3.0}, "FlowMatchEulerDiscrete"),
    ({"_class_name": "EDMEulerScheduler", "sigma_data": 0.5}, "the process of EDMEulerScheduler"),
    ({"_class_name": "EDMDPMSolverMultistepScheduler"}, "EDMDPMSolverMultistepScheduler"),
    ({"_class_name": "CogVideoXDDIMScheduler"}, "CogVideoXDDIMScheduler"),
    ({"prediction_type": "v_prediction", "sigma_max": 120.0}, "sigma_max"),
    ({"timestep_type": "continuous"}, "continuous timesteps"),
    ({"beta_schedule": "squaredcos_cap_v2"}, "squaredcos_cap_v2 betas"),
    ({"trained_betas": [0.01] * 1000}, "trained_betas"),
]


@pytest.mark.parametrize(("config", "name"), FOREIGN, ids=lambda value: str(value)[:40])
def test_foreign_processes_are_refused_with_their_name(config: dict[str, Any], name: str) -> None:
    with pytest.raises(NadirError, match=rf"there: the scheduler asks for .*{name}"):
        noise_of_scheduler(config, where="there")


@pytest.mark.parametrize("changes", [{}, {"zero_terminal_snr": False}, {"sigma_shift": 1.7}])
def test_a_table_of_betas_is_read_as_the_settings_that_make_it(changes: dict[str, Any]) -> None:
    noise = NOISE | changes
    config = dict(stock_scheduler(noise).config)
    config["trained_betas"] = NoiseSchedule.from_settings(**noise).betas.tolist()
    assert noise_of_scheduler(config, where="here") == noise


def test_a_folder_that_lost_its_v_is_refused_with_the_way_to_put_it_back() -> None:
    """As OneTrainer writes one: the schedule of a v model, and epsilon."""
    config = {"rescale_betas_zero_snr": True, "prediction_type": "epsilon"}
    with pytest.raises(NadirError, match="epsilon-prediction with rescale_betas_zero_snr") as told:
        noise_of_scheduler(config, where="here")
    assert "set prediction_type to v_prediction" in told.value.fix
    right = noise_of_scheduler(config | {"prediction_type": "v_prediction"}, where="here")
    assert (right["prediction"], right["zero_terminal_snr"]) == ("v", True)
