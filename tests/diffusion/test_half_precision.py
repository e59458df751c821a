"""bf16 and fp16 where the signal is smallest; bench/half_precision.py reports the numbers."""

from __future__ import annotations

import math

import pytest
import torch
from bench.half_precision import TIMESTEPS, TYPES, deviations, tf32_row
from tests.diffusion.driver import sample

from nadir.diffusion.prediction import add_noise, target
from nadir.diffusion.samplers import SAMPLERS, make_sampler
from nadir.diffusion.schedule import NoiseSchedule

# a value of 4 is rounded by half of 2**-6 in bf16 and of 2**-8 in fp16; twice that is allowed
LIMITS = {"bf16": 4e-2, "fp16": 8e-3, "fp32": 2e-6}


@pytest.mark.parametrize("label", list(TYPES))
@pytest.mark.parametrize("t", TIMESTEPS)
def test_deviation_from_float64_is_that_of_storage(label: str, t: int) -> None:
    for name, deviation in deviations(t, TYPES[label]).items():
        assert math.isfinite(deviation)
        assert deviation < LIMITS[label], name


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_terminal_step_is_exact_in_half_precision(
    dtype: torch.dtype, zero_terminal: NoiseSchedule
) -> None:
    x0, noise = torch.randn(2, 2, 4, 8, 8).to(dtype)
    abar = zero_terminal.alphas_cumprod[999]
    assert torch.equal(add_noise(x0, noise, abar), noise)
    assert torch.equal(target("v", x0, noise, abar), -x0)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_whole_runs_in_half_precision_stay_near_float64(
    name: str, dtype: torch.dtype, zero_terminal: NoiseSchedule
) -> None:
    start = torch.randn(1, 4, 16, 16).to(dtype)
    results = []
    for kind in (dtype, torch.float64):
        sampler = make_sampler(zero_terminal, prediction="v", name=name, spacing="native")
        sampler.set_timesteps(28)
        generator = torch.Generator().manual_seed(0)
        results.append(sample(sampler, start.to(kind), generator=generator).double())
    assert bool(results[0].isfinite().all())
    limit = 0.15 if dtype is torch.bfloat16 else 0.02
    if name in ("euler_ancestral", "dpmpp_2m_sde"):  # other noise: compare what noise leaves alone
        results = [result.mean(dim=(1, 2, 3)) for result in results]
        limit = 0.2
    assert float((results[0] - results[1]).abs().max()) < limit


@pytest.mark.skipif(not torch.cuda.is_available(), reason="tf32 exists on a GPU only")
def test_tf32_products_deviate_within_its_ten_bits() -> None:
    row = tf32_row()
    assert row
    assert float(row[1]) < 5e-3
    assert float(row[2]) < 1e-5
