"""Classifier-free guidance and its rescale."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    rescale_noise_cfg,
)
from hypothesis import given
from hypothesis import strategies as st
from tests.support.guidance import classifier_free_guidance, rescale_guidance

from nadir.diffusion.prediction import to_x0


def test_oracle_values(oracles: dict[str, Any]) -> None:
    rng = np.random.RandomState(0)
    cond = torch.from_numpy(rng.randn(1, 4, 8, 8))
    uncond = torch.from_numpy(rng.randn(1, 4, 8, 8))
    guided = classifier_free_guidance(uncond, cond, 7.5)
    final = rescale_guidance(guided, cond, 0.7)
    expected = oracles["cfg_rescale_np_seed0"]
    assert float(cond.std(unbiased=False)) == pytest.approx(expected["std_pos"], rel=1e-5)
    assert float(guided.std(unbiased=False)) == pytest.approx(expected["std_cfg"], rel=1e-5)
    assert float(final.std(unbiased=False)) == pytest.approx(expected["final_std"], rel=1e-5)
    assert float(final[0, 0, 0, 0]) == pytest.approx(expected["final[0,0,0]"], rel=1e-5)


@given(scale=st.floats(0, 20), phi=st.floats(0, 1))
def test_rescale_is_that_of_the_stock_pipeline(scale: float, phi: float) -> None:
    uncond, cond = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    guided = classifier_free_guidance(uncond, cond, scale)
    expected = rescale_noise_cfg(guided, cond, guidance_rescale=phi)
    torch.testing.assert_close(rescale_guidance(guided, cond, phi), expected)


def test_ends_of_scale_and_phi() -> None:
    uncond, cond = torch.randn(2, 2, 4, 8, 8, dtype=torch.float64)
    torch.testing.assert_close(classifier_free_guidance(uncond, cond, 1.0), cond)
    torch.testing.assert_close(classifier_free_guidance(uncond, cond, 0.0), uncond)
    guided = classifier_free_guidance(uncond, cond, 7.5)
    assert torch.equal(rescale_guidance(guided, cond, 0.0), guided)
    matched = rescale_guidance(guided, cond, 1.0).std(dim=(1, 2, 3))
    torch.testing.assert_close(matched, cond.std(dim=(1, 2, 3)))


def test_each_sample_has_its_own_deviation() -> None:
    uncond, cond = torch.randn(2, 3, 4, 8, 8, dtype=torch.float64)
    guided = classifier_free_guidance(uncond, cond, 5.0)
    together = rescale_guidance(guided, cond, 0.7)
    alone = torch.cat([rescale_guidance(guided[i : i + 1], cond[i : i + 1], 0.7) for i in range(3)])
    torch.testing.assert_close(together, alone)


def test_a_constant_sample_is_left_alone() -> None:
    flat = torch.full((1, 4, 8, 8), 2.0)
    assert torch.equal(rescale_guidance(flat, torch.randn(1, 4, 8, 8), 0.7), flat)


@given(abar=st.floats(0, 1), scale=st.floats(0, 20))
def test_guiding_v_is_guiding_x0(abar: float, scale: float) -> None:
    uncond, cond, noisy = torch.randn(3, 2, 4, 8, 8, dtype=torch.float64)
    at = torch.tensor(abar, dtype=torch.float64)
    on_v = to_x0("v", classifier_free_guidance(uncond, cond, scale), noisy, at)
    on_x0 = classifier_free_guidance(
        to_x0("v", uncond, noisy, at), to_x0("v", cond, noisy, at), scale
    )
    torch.testing.assert_close(on_v, on_x0, rtol=1e-9, atol=1e-9)


def test_rescaling_v_is_rescaling_x0_at_zero_snr() -> None:
    guided, cond, noisy = torch.randn(3, 2, 4, 8, 8, dtype=torch.float64)
    zero = torch.zeros(2, dtype=torch.float64)
    on_v = to_x0("v", rescale_guidance(guided, cond, 0.7), noisy, zero)
    on_x0 = rescale_guidance(to_x0("v", guided, noisy, zero), to_x0("v", cond, noisy, zero), 0.7)
    torch.testing.assert_close(on_v, on_x0)


def test_half_precision_deviations_are_taken_in_float32() -> None:
    guided, cond = torch.randn(2, 1, 4, 64, 64)
    expected = rescale_guidance(guided, cond, 0.7)
    found = rescale_guidance(guided.half(), cond.half(), 0.7)
    assert found.dtype == torch.float16
    torch.testing.assert_close(found.float(), expected, rtol=2e-3, atol=2e-3)
