"""The canvas-length rule and the leak of the mean colour."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nadir.diffusion.resolution import (
    canvas_advice,
    canvas_length,
    dc_leak,
    minimum_sigma,
    sigma_of_leak,
)
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError


def test_leak_oracles(oracles: dict[str, Any]) -> None:
    for spread, leaks in oracles["dc_leak_128sq"].items():
        for sigma, expected in leaks.items():
            found = dc_leak(float(sigma), 128 * 128, float(spread))
            # the reference gives three digits of the smallest
            assert found == pytest.approx(expected, rel=5e-3 if expected < 1e-3 else 1e-5)
    assert dc_leak(math.inf, 128 * 128) == 0
    assert dc_leak(0.0, 128 * 128) == 1


def test_leak_is_what_an_ideal_denoiser_trusts() -> None:
    """Regression of the true canvas mean on the noised one, by simulation."""
    pixels, spread, sigma = 256, 0.5, 6.0
    generator = torch.Generator().manual_seed(0)
    means = spread * torch.randn(20_000, generator=generator, dtype=torch.float64)
    noise = torch.randn(20_000, pixels, generator=generator, dtype=torch.float64).mean(dim=1)
    noised = means + sigma * noise
    found = float((means * noised).mean() / (noised**2).mean())
    assert found == pytest.approx(dc_leak(sigma, pixels, spread), rel=1e-2)


@given(leak=st.floats(1e-6, 1 - 1e-6), pixels=st.integers(1, 10**6), spread=st.floats(0.01, 10))
def test_sigma_of_leak_is_the_inverse(leak: float, pixels: int, spread: float) -> None:
    assert dc_leak(sigma_of_leak(leak, pixels, spread), pixels, spread) == pytest.approx(leak)


def test_half_the_mean_is_lost_at_tau_times_the_length() -> None:
    assert sigma_of_leak(0.5, 128 * 128, 0.5) == pytest.approx(0.5 * 128)
    assert sigma_of_leak(0.0, 128 * 128) == math.inf


@given(width=st.integers(64, 8192), height=st.integers(64, 8192))
def test_twice_the_length_needs_twice_the_sigma(width: int, height: int) -> None:
    once = minimum_sigma(canvas_length(width, height))
    twice = minimum_sigma(canvas_length(2 * width, 2 * height))
    assert twice == pytest.approx(2 * once, rel=1e-12)
    assert minimum_sigma(canvas_length(1024, 1024)) == pytest.approx(14.6146)


def test_native_28_covers_a_canvas_nearly_four_times_as_long(
    zero_terminal: NoiseSchedule,
) -> None:
    sigmas = zero_terminal.sigma(zero_terminal.sampling_timesteps(28, "native"))
    advice = canvas_advice(sigmas, 1536, 1536)
    assert advice.length == pytest.approx(1.5)
    assert advice.minimum_sigma == pytest.approx(21.9219)
    assert advice.covered
    assert advice.longest_length == pytest.approx(3.844, abs=1e-3)
    assert advice.start_leak == 0
    assert advice.finite_leak == pytest.approx(dc_leak(56.1782, 192 * 192), rel=1e-5)
    assert not canvas_advice(sigmas, 4096, 4096).covered


def test_a_finite_start_leaks(sdxl: NoiseSchedule) -> None:
    sigmas = sdxl.sigma(sdxl.sampling_timesteps(28, "native"))
    advice = canvas_advice(sigmas, 1024, 1024)
    assert advice.start_leak == pytest.approx(0.9504, abs=1e-4)
    assert advice.covered
    assert not canvas_advice(sigmas, 1536, 1536).covered


def test_questions_without_an_answer_are_errors() -> None:
    with pytest.raises(NadirError, match="a canvas of 4x4 has no latent pixel"):
        canvas_advice(torch.tensor([1.0]), 4, 4)
    with pytest.raises(NadirError, match="one step from infinite sigma has no finite sigma"):
        canvas_advice(torch.tensor([math.inf]), 1024, 1024)
