"""Loss weights: forms, identities between targets, and combinations without meaning."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nadir.diffusion.loss_weight import (
    LOSS_WEIGHTS,
    loss_weight,
    loss_weight_table,
    weight_shares,
)
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError

snrs = st.floats(1e-9, 1e6)
gammas = st.floats(0.1, 20)


def weigh(name: str, snr: float, prediction: str, gamma: float = 5.0, **extra: float) -> float:
    tensor = torch.tensor([snr], dtype=torch.float64)
    return float(loss_weight(name, tensor, prediction=prediction, gamma=gamma, **extra))


@pytest.mark.parametrize("name", ["min_snr", "snr_plus_one", "soft_min_snr", "debiased"])
@given(snr=snrs, gamma=gammas)
def test_all_targets_imply_the_same_weight_on_x0(name: str, snr: float, gamma: float) -> None:
    on_x0 = weigh(name, snr, "x0", gamma)
    assert weigh(name, snr, "epsilon", gamma) * snr == pytest.approx(on_x0, rel=1e-12)
    assert weigh(name, snr, "v", gamma) * (snr + 1) == pytest.approx(on_x0, rel=1e-12)


@given(snr=snrs, gamma=gammas)
def test_the_formulas(snr: float, gamma: float) -> None:
    approx = pytest.approx
    assert weigh("min_snr", snr, "x0", gamma) == approx(min(snr, gamma), rel=1e-12)
    assert weigh("min_snr", snr, "epsilon", gamma) == approx(min(snr, gamma) / snr, rel=1e-12)
    assert weigh("min_snr", snr, "v", gamma) == approx(min(snr, gamma) / (snr + 1), rel=1e-12)
    plus_one = min(snr + 1, gamma) / (snr + 1)
    assert weigh("snr_plus_one", snr, "v", gamma) == approx(plus_one, rel=1e-12)
    soft = snr * gamma / ((snr + gamma) * (snr + 1))
    assert weigh("soft_min_snr", snr, "v", gamma) == approx(soft, rel=1e-12)
    assert weigh("debiased", snr, "epsilon", gamma) == approx(snr**-0.5, rel=1e-12)
    assert weigh("debiased", snr, "v", gamma) == approx(snr**0.5 / (snr + 1), rel=1e-12)
    assert weigh("min_snr_snr0_one", snr, "v", gamma) == weigh("min_snr", snr, "v", gamma)
    for prediction in ("v", "epsilon", "x0"):
        assert weigh("none", snr, prediction, gamma) == 1


@given(sigma=st.floats(0.02, 1e3), sigma_data=st.floats(0.2, 5))
def test_soft_min_snr_with_sigma_data_is_k_diffusions(sigma: float, sigma_data: float) -> None:
    found = weigh("soft_min_snr", sigma**-2, "v", 1.0, sigma_data=sigma_data)
    expected = (sigma * sigma_data) ** 2 / (sigma**2 + sigma_data**2) ** 2
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("name", "weight"),
    [
        ("none", 1.0),
        ("min_snr", 0.0),
        ("min_snr_snr0_one", 1.0),
        ("snr_plus_one", 1.0),
        ("soft_min_snr", 0.0),
        ("debiased", 0.0),
    ],
)
def test_v_weight_at_the_terminal_step(name: str, weight: float) -> None:
    assert weigh(name, 0.0, "v") == weight


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
def test_v_weight_is_finite_from_snr_0_to_infinity(name: str) -> None:
    snr = torch.tensor([0.0, 1e-300, 1e-9, 1.0, 1e9, 1e300, math.inf], dtype=torch.float64)
    weights = loss_weight(name, snr, prediction="v", gamma=5.0)
    assert bool((weights.isfinite() & (weights >= 0)).all())
    assert float(weights.max()) <= 1


def test_literal_form_starves_what_the_default_trains(zero_terminal: NoiseSchedule) -> None:
    literal = loss_weight_table(zero_terminal, "min_snr", prediction="v", gamma=5.0)
    default = loss_weight_table(zero_terminal, "snr_plus_one", prediction="v", gamma=5.0)
    assert float(literal[999]) == 0
    assert float(literal[998]) < 2e-7
    assert bool((default[161:] == 1).all())
    assert torch.equal(literal[:139], default[:139])  # SNR of 5 and more


def test_weights_come_from_the_rescaled_snr(
    sdxl: NoiseSchedule, zero_terminal: NoiseSchedule
) -> None:
    stale = loss_weight_table(sdxl, "min_snr", prediction="v", gamma=5.0)
    right = loss_weight_table(zero_terminal, "min_snr", prediction="v", gamma=5.0)
    assert float(stale[998] / right[998]) == pytest.approx(23968, rel=1e-3)


def test_dtype_and_shape_follow_the_snr() -> None:
    snr = torch.tensor([0.5, 2.0], dtype=torch.float32)
    weights = loss_weight("min_snr", snr, prediction="v", gamma=5.0)
    assert weights.dtype == torch.float32
    assert weights.shape == (2,)


def test_combinations_without_meaning_are_errors() -> None:
    for prediction in ("epsilon", "x0"):
        with pytest.raises(NadirError, match=f"for {prediction} it has no meaning"):
            weigh("min_snr_snr0_one", 1.0, prediction)
    for name in ("min_snr", "snr_plus_one", "soft_min_snr", "debiased"):
        with pytest.raises(NadirError, match="no weight where the SNR is zero"):
            weigh(name, 0.0, "epsilon")
    with pytest.raises(NadirError, match="'hang' is not a loss weight"):
        weigh("hang", 1.0, "v")
    with pytest.raises(NadirError, match="'flow' is not a prediction"):
        weigh("min_snr", 1.0, "flow")
    with pytest.raises(NadirError, match="gamma must be positive, not 0"):
        weigh("min_snr", 1.0, "v", 0.0)


@pytest.mark.parametrize("name", LOSS_WEIGHTS)
def test_shares_add_up_to_one(name: str, zero_terminal: NoiseSchedule) -> None:
    weights = loss_weight_table(zero_terminal, name, prediction="v", gamma=5.0)
    shares = weight_shares(zero_terminal, weights)
    terminal = shares.pop("sigma_inf")
    assert list(shares) == [
        "sigma_0_to_1",
        "sigma_1_to_14.6146",
        "sigma_14.6146_to_29.2293",
        "sigma_29.2293_to_100",
        "sigma_above_100",
    ]
    assert sum(shares.values()) == pytest.approx(1, rel=1e-12)
    assert terminal <= shares["sigma_above_100"]
