"""EDM preconditioning, and that it is v-prediction at sigma_data = 1."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.support.edm_preconditioning import edm_target, scalings

from nadir.diffusion.prediction import add_noise, target, to_x0


def test_oracle_values(oracles: dict[str, Any]) -> None:
    for sigma, expected in oracles["vdenoiser_scalings"].items():
        found = scalings(torch.tensor(float(sigma), dtype=torch.float64))
        for name, value in expected.items():
            assert float(getattr(found, name)) == pytest.approx(value, rel=1e-5), (sigma, name)


@given(sigma=st.floats(1e-3, 1e6), sigma_data=st.floats(0.1, 10))
def test_scalings_are_the_closed_form(sigma: float, sigma_data: float) -> None:
    found = scalings(torch.tensor(sigma, dtype=torch.float64), sigma_data)
    total = sigma**2 + sigma_data**2
    assert float(found.c_skip) == pytest.approx(sigma_data**2 / total, rel=1e-12)
    assert float(found.c_out) == pytest.approx(-sigma * sigma_data / math.sqrt(total), rel=1e-12)
    assert float(found.c_in) == pytest.approx(1 / math.sqrt(total), rel=1e-12)


@pytest.mark.parametrize("sigma_data", [1.0, 0.5])
def test_both_ends_are_exact(sigma_data: float) -> None:
    at_infinity = scalings(torch.tensor(math.inf), sigma_data)
    assert [float(c) for c in at_infinity] == [0, -sigma_data, 0]
    at_zero = scalings(torch.tensor(0.0), sigma_data)
    assert [float(c) for c in at_zero] == [1, 0, 1 / sigma_data]


@given(sigma=st.floats(1e-3, 1e6), seed=st.integers(0, 2**31))
def test_with_sigma_data_1_it_is_v_prediction(sigma: float, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    x0, noise, output = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    sigma_tensor = torch.tensor(sigma, dtype=torch.float64)
    abar = 1 / (1 + sigma_tensor**2)
    noisy_ve = x0 + sigma * noise
    c_skip, c_out, c_in = scalings(sigma_tensor)
    noisy_vp = add_noise(x0, noise, abar)
    torch.testing.assert_close(c_in * noisy_ve, noisy_vp, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(
        c_skip * noisy_ve + c_out * output,
        to_x0("v", output, noisy_vp, abar),
        rtol=1e-9,
        atol=1e-9,
    )
    torch.testing.assert_close(
        edm_target(x0, noise, sigma_tensor), target("v", x0, noise, abar), rtol=1e-9, atol=1e-12
    )


@given(sigma=st.floats(1e-2, 1e3), sigma_data=st.floats(0.1, 10))
def test_the_target_makes_the_denoiser_exact(sigma: float, sigma_data: float) -> None:
    x0, noise = torch.randn(2, 5, dtype=torch.float64)
    sigma_tensor = torch.tensor(sigma, dtype=torch.float64)
    c_skip, c_out, _ = scalings(sigma_tensor, sigma_data)
    output = edm_target(x0, noise, sigma_tensor, sigma_data)
    denoised = c_skip * (x0 + sigma * noise) + c_out * output
    torch.testing.assert_close(denoised, x0, rtol=1e-9, atol=1e-9)


def test_target_at_infinite_sigma_is_minus_the_data() -> None:
    x0, noise = torch.randn(2, 5)
    infinite = torch.tensor(math.inf)
    assert torch.equal(edm_target(x0, noise, infinite), -x0)
    assert torch.equal(edm_target(x0, noise, torch.tensor(0.0)), noise)
