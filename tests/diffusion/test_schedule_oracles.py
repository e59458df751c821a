"""Six-digit values computed elsewhere, and the numbers that the paper prints."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from nadir.diffusion.loss_weight import loss_weight_table, weight_shares
from nadir.diffusion.schedule import NoiseSchedule

RELATIVE = 1e-5  # the oracles have six digits


def at(table: torch.Tensor, oracles: dict[str, Any]) -> list[float]:
    return table[oracles["t"]].tolist()


def close(expected: Any) -> Any:
    return pytest.approx(expected, rel=RELATIVE, abs=0)


@pytest.mark.parametrize("key", ["sigma", "snr", "acp", "sqrt_acp"])
def test_zero_terminal_table_agrees_with_the_oracles(
    key: str, zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    tables = {
        "sigma": zero_terminal.sigmas,
        "snr": zero_terminal.snr,
        "acp": zero_terminal.alphas_cumprod,
        "sqrt_acp": zero_terminal.alphas_cumprod.sqrt(),
    }
    assert at(tables[key], oracles) == close(oracles[f"{key}_zt"])


def test_sdxl_table_agrees_with_the_oracles(sdxl: NoiseSchedule, oracles: dict[str, Any]) -> None:
    assert at(sdxl.sigmas, oracles) == close(oracles["sigma_sdxl"])
    assert at(sdxl.snr, oracles) == close(oracles["snr_sdxl"])
    last = float(sdxl.alphas_cumprod[-1].sqrt())
    assert last == close(oracles["sqrt_acp_terminal_sdxl"])


def test_rescaled_betas_agree_with_the_oracles(
    zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    assert zero_terminal.betas[:3].tolist() == close(oracles["beta_zt_first"])
    assert zero_terminal.betas[-5:].tolist() == close(oracles["beta_zt_last"])


@pytest.mark.parametrize(("start", "printed"), [(880, "from880_28"), (932, "from932_28")])
def test_the_ten_sigmas_that_the_paper_prints(
    start: int, printed: str, zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    timesteps = zero_terminal.sampling_timesteps(28, "native", float(zero_terminal.sigma(start)))
    sigmas = zero_terminal.sigma(timesteps)
    assert sigmas.tolist() == close(oracles[printed])
    rounded = [round(sigma, 1) for sigma in sigmas[:5].tolist()]
    assert rounded == oracles["paper_printed"][str(start)]


def test_native_28_has_56_as_its_second_sigma(
    zero_terminal: NoiseSchedule, sdxl: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    sigmas = zero_terminal.sigma(zero_terminal.sampling_timesteps(28, "native")).tolist()
    assert sigmas == close(oracles["native28_zt"])
    assert sigmas[1] == close(56.1782)
    finite = sdxl.sigma(sdxl.sampling_timesteps(28, "native")).tolist()
    assert finite == close(oracles["native28_sdxl"])


@pytest.mark.parametrize("steps", [5, 10, 20, 25, 28, 50])
def test_trailing_timesteps_and_sigmas(
    steps: int, zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    timesteps = zero_terminal.sampling_timesteps(steps, "trailing")
    assert timesteps.tolist() == oracles[f"trailing{steps}_t"]
    assert zero_terminal.sigma(timesteps).tolist() == close(oracles[f"trailing{steps}_sigma_zt"])


def test_simple_timesteps_and_sigmas_are_those_of_comfyui(
    zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    timesteps = zero_terminal.sampling_timesteps(28, "simple")
    assert timesteps.tolist() == oracles["comfy_simple28_t"]
    assert zero_terminal.sigma(timesteps).tolist() == close(oracles["comfy_simple28_sigma_zt"])


def test_timesteps_of_sigmas(zero_terminal: NoiseSchedule, oracles: dict[str, Any]) -> None:
    for sigma, timestep in oracles["timestep_of_sigma_zt"].items():
        assert float(zero_terminal.timestep(float(sigma))) == pytest.approx(timestep, abs=6e-4)


@pytest.mark.parametrize("factor", [0.5, 2.0, 4.0])
def test_shifted_tables(factor: float, sdxl: NoiseSchedule, oracles: dict[str, Any]) -> None:
    shifted = sdxl.shifted(factor)
    for t, sigma in oracles[f"shift_k{factor}_sigma"].items():
        assert float(shifted.sigmas[int(t)]) == close(sigma)
    for t, root in oracles[f"shift_k{factor}_sqrt_acp"].items():
        assert float(shifted.alphas_cumprod[int(t)].sqrt()) == close(root)


@pytest.mark.parametrize("name", ["snr_plus_one", "min_snr", "soft_min_snr"])
def test_v_weights_at_chosen_timesteps(
    name: str, zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    weights = loss_weight_table(zero_terminal, name, prediction="v", gamma=5.0)
    for t, weight in oracles["weight_v_zt_gamma5"][name].items():
        assert float(weights[int(t)]) == close(weight), t


def test_literal_min_snr_on_both_schedules(
    zero_terminal: NoiseSchedule, sdxl: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    for schedule, key in ((zero_terminal, "minsnr5_v_zt"), (sdxl, "minsnr5_v_sdxl")):
        weights = loss_weight_table(schedule, "min_snr", prediction="v", gamma=5.0)
        assert at(weights, oracles) == close(oracles[key])


def test_soft_min_snr_with_gamma_1_is_k_diffusions(
    zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    weights = loss_weight_table(zero_terminal, "soft_min_snr", prediction="v", gamma=1.0)
    for t, weight in oracles["weight_v_zt_soft_gamma1"].items():
        assert float(weights[int(t)]) == close(weight), t


def test_mean_weights(
    zero_terminal: NoiseSchedule, sdxl: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    def mean(schedule: NoiseSchedule, name: str, gamma: float = 5.0) -> float:
        return float(loss_weight_table(schedule, name, prediction="v", gamma=gamma).mean())

    expected = oracles["weight_v_mean"]
    assert mean(sdxl, "min_snr") == close(expected["min_snr_sdxl"])
    assert mean(zero_terminal, "min_snr", 1.0) == close(expected["min_snr_gamma1"])
    for name in ("min_snr", "snr_plus_one", "min_snr_snr0_one"):
        assert mean(zero_terminal, name) == close(expected[name])


@pytest.mark.parametrize("name", ["min_snr", "snr_plus_one"])
def test_shares_of_weight_above_a_sigma(
    name: str, zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    weights = loss_weight_table(zero_terminal, name, prediction="v", gamma=5.0)
    for sigma, share in oracles["weight_share_above"][name].items():
        shares = weight_shares(zero_terminal, weights, [float(sigma)])
        # the reference gives two or three digits for the literal form
        assert shares[f"sigma_above_{float(sigma):g}"] == pytest.approx(share, rel=2e-2)


def test_the_terminal_step_holds_a_third_of_a_percent_when_its_weight_is_set_to_one(
    zero_terminal: NoiseSchedule, oracles: dict[str, Any]
) -> None:
    weights = loss_weight_table(zero_terminal, "min_snr_snr0_one", prediction="v", gamma=5.0)
    share = weight_shares(zero_terminal, weights)["sigma_inf"]
    assert share == close(oracles["weight_share_terminal_snr0_one"])


def test_the_snr_threshold_lies_where_the_oracles_say(
    zero_terminal: NoiseSchedule, sdxl: NoiseSchedule
) -> None:
    five, one = 5**-0.5, 1.0
    assert float(zero_terminal.timestep(five)) == pytest.approx(138.245, abs=6e-4)
    assert float(sdxl.timestep(five)) == pytest.approx(146.069, abs=6e-4)
    assert float(zero_terminal.timestep(one)) == pytest.approx(336.762, abs=6e-4)
    assert float(sdxl.timestep(one)) == pytest.approx(353.89, abs=6e-3)
    assert math.isclose(float(zero_terminal.sigma(zero_terminal.timestep(five))), five)
