"""The schedule against closed forms, its interpolation, its spacings and its errors."""

from __future__ import annotations

import dataclasses
import math
from decimal import Decimal, getcontext
from itertools import accumulate
from operator import mul

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nadir.diffusion.names import SPACINGS
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError

CLOSED_FORM = 1e-12
ZERO_TERMINAL = NoiseSchedule.scaled_linear().zero_terminal()
SETTINGS = {
    "prediction": "v",
    "zero_terminal_snr": True,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timesteps": 1000,
    "sigma_shift": 1.0,
}


@pytest.fixture(scope="module")
def exact() -> list[Decimal]:
    """SDXL's alphas_cumprod to fifty digits."""
    getcontext().prec = 50
    start, end = Decimal("0.00085").sqrt(), Decimal("0.012").sqrt()
    betas = [(start + (end - start) * i / 999) ** 2 for i in range(1000)]
    return list(accumulate((1 - beta for beta in betas), mul))


@pytest.fixture(scope="module")
def exact_rescaled(exact: list[Decimal]) -> list[Decimal]:
    """Lin et al., Algorithm 1, to fifty digits."""
    roots = [value.sqrt() for value in exact]
    first, last = roots[0], roots[-1]
    return [((root - last) * first / (first - last)) ** 2 for root in roots]


def error(found: torch.Tensor, wanted: list[Decimal]) -> float:
    """Greatest relative error."""
    pairs = zip(found.tolist(), wanted, strict=True)
    return float(max(abs(Decimal(value) / exact - 1) for value, exact in pairs))


def test_table_is_the_closed_form_to_1e_12(sdxl: NoiseSchedule, exact: list[Decimal]) -> None:
    assert error(sdxl.alphas_cumprod, exact) < CLOSED_FORM
    assert error(sdxl.snr, [a / (1 - a) for a in exact]) < CLOSED_FORM
    assert error(sdxl.sigmas, [((1 - a) / a).sqrt() for a in exact]) < CLOSED_FORM


def test_rescale_is_algorithm_1_to_1e_12(
    zero_terminal: NoiseSchedule, exact: list[Decimal], exact_rescaled: list[Decimal]
) -> None:
    finite = exact_rescaled[:-1]
    assert error(zero_terminal.alphas_cumprod[:-1], finite) < CLOSED_FORM
    assert error(zero_terminal.snr[:-1], [a / (1 - a) for a in finite]) < CLOSED_FORM
    assert error(zero_terminal.sigmas[:-1], [((1 - a) / a).sqrt() for a in finite]) < CLOSED_FORM
    assert float(zero_terminal.alphas_cumprod[0]) == pytest.approx(float(exact[0]), rel=1e-15)


@pytest.mark.parametrize("factor", ["0.5", "2", "4"])
def test_shift_is_the_closed_form_to_1e_12(
    factor: str, zero_terminal: NoiseSchedule, exact_rescaled: list[Decimal]
) -> None:
    square = Decimal(factor) ** 2
    wanted = [a / (a + (1 - a) * square) for a in exact_rescaled[:-1]]
    shifted = zero_terminal.shifted(float(factor))
    assert error(shifted.alphas_cumprod[:-1], wanted) < CLOSED_FORM
    assert error(shifted.sigmas[:-1], [((1 - a) / a).sqrt() for a in wanted]) < CLOSED_FORM


def test_terminal_step_is_exactly_pure_noise(zero_terminal: NoiseSchedule) -> None:
    assert zero_terminal.is_zero_terminal
    assert float(zero_terminal.alphas_cumprod[-1]) == 0
    assert float(zero_terminal.sigmas[-1]) == math.inf
    assert float(zero_terminal.snr[-1]) == 0
    assert float(zero_terminal.betas[-1]) == 1
    assert not zero_terminal.sigmas[:-1].isinf().any()


def test_rescaling_twice_changes_nothing(zero_terminal: NoiseSchedule) -> None:
    again = zero_terminal.zero_terminal()
    assert torch.allclose(again.alphas_cumprod, zero_terminal.alphas_cumprod, rtol=1e-15, atol=0)


@given(factor=st.floats(0.25, 100))
def test_shift_multiplies_every_sigma(factor: float) -> None:
    shifted = ZERO_TERMINAL.shifted(factor)
    expected = ZERO_TERMINAL.sigmas * factor
    assert torch.allclose(shifted.sigmas[:-1], expected[:-1], rtol=1e-11, atol=0)
    assert math.isinf(float(shifted.sigmas[-1]))


def test_schedule_is_frozen_and_owns_its_table() -> None:
    table = torch.tensor([0.9, 0.5, 0.1], dtype=torch.float32)
    schedule = NoiseSchedule(table)
    table[0] = 0.95
    assert float(schedule.alphas_cumprod[0]) == pytest.approx(0.9, abs=1e-7)
    assert schedule.alphas_cumprod.dtype == torch.float64
    with pytest.raises(dataclasses.FrozenInstanceError):
        schedule.alphas_cumprod = table  # type: ignore[misc]


def test_equal_schedules_have_equal_fingerprints(zero_terminal: NoiseSchedule) -> None:
    other = NoiseSchedule.from_settings(**SETTINGS)
    assert other == zero_terminal
    assert hash(other) == hash(zero_terminal)
    assert other.fingerprint == zero_terminal.fingerprint
    assert other != zero_terminal.shifted(2)
    assert other.fingerprint != zero_terminal.shifted(1.0001).fingerprint
    assert zero_terminal != "a schedule"


def test_linear_betas_and_any_table_of_betas() -> None:
    betas = torch.linspace(1e-4, 0.02, 100, dtype=torch.float64)
    schedule = NoiseSchedule.linear(1e-4, 0.02, 100)
    assert schedule == NoiseSchedule.from_betas(betas)
    assert torch.allclose(schedule.betas, betas, rtol=1e-12)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ([[0.9, 0.5]], r"must be \[T\]"),
        ([0.9], "T >= 2"),
        ([1.0, 0.5], "must lie in"),
        ([0.9, 0.0, 0.0], "must lie in"),
        ([0.9, -0.1], "must lie in"),
        ([0.9, math.nan, 0.1], "must lie in"),
        ([0.5, 0.9, 0.1], "fall strictly"),
    ],
)
def test_impossible_tables_are_refused(table: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoiseSchedule(torch.tensor(table))


def test_settings_that_make_no_sense_are_refused() -> None:
    with pytest.raises(NadirError, match="teaches nothing where the SNR is zero"):
        NoiseSchedule.from_settings(**SETTINGS | {"prediction": "epsilon"})
    with pytest.raises(NadirError, match="'cosine' is not a beta schedule"):
        NoiseSchedule.from_settings(**SETTINGS | {"beta_schedule": "cosine"})
    with pytest.raises(ValueError, match="shift must be positive"):
        NoiseSchedule.from_settings(**SETTINGS | {"sigma_shift": 0.0})


@given(t=st.floats(0, 999))
def test_timestep_is_the_inverse_of_sigma(t: float) -> None:
    assert float(ZERO_TERMINAL.timestep(ZERO_TERMINAL.sigma(t))) == pytest.approx(t, abs=1e-9)


@given(sigma=st.floats(0.03, 1e8))
def test_sigma_is_the_inverse_of_timestep(sigma: float) -> None:
    # 1e-10: near the terminal step a rounding of t is a large part of its distance from 999
    back = float(ZERO_TERMINAL.sigma(ZERO_TERMINAL.timestep(sigma)))
    assert back == pytest.approx(sigma, rel=1e-10 * max(1.0, sigma / 2254))


@given(low=st.floats(0, 998.999), step=st.floats(1e-6, 1))
def test_sigma_rises_with_the_timestep(low: float, step: float) -> None:
    high = min(low + step, 999.0)
    assert float(ZERO_TERMINAL.sigma(low)) < float(ZERO_TERMINAL.sigma(high))


def test_sigma_is_log_linear_between_whole_timesteps(zero_terminal: NoiseSchedule) -> None:
    between = float(zero_terminal.sigma(500.25).log())
    logs = zero_terminal.sigmas.log()
    assert between == pytest.approx(float(0.75 * logs[500] + 0.25 * logs[501]), rel=1e-14)


def test_answers_around_the_last_finite_sigma(zero_terminal: NoiseSchedule) -> None:
    last = float(zero_terminal.sigmas[998])
    assert float(zero_terminal.timestep(last)) == 998
    assert 998 < float(zero_terminal.timestep(last * 1.001)) < 998.01
    assert 998.8 < float(zero_terminal.timestep(20000.0)) < 999
    assert float(zero_terminal.timestep(math.inf)) == 999
    assert float(zero_terminal.sigma(999)) == math.inf
    # sqrt(alphas_cumprod) is linear in t there
    halfway = 1 / math.sqrt(1 + float(zero_terminal.sigma(998.5)) ** 2)
    root = float(zero_terminal.alphas_cumprod[998].sqrt())
    assert halfway == pytest.approx(root / 2, rel=1e-12)


def test_answers_outside_a_finite_table(sdxl: NoiseSchedule) -> None:
    assert float(sdxl.timestep(0.0)) == 0
    assert float(sdxl.timestep(1e6)) == 999
    assert float(sdxl.timestep(math.inf)) == 999
    with pytest.raises(ValueError, match="timesteps must lie in 0 to 999"):
        sdxl.sigma(999.5)
    with pytest.raises(ValueError, match="timesteps must lie in"):
        sdxl.sigma(math.nan)
    with pytest.raises(ValueError, match="sigmas must be 0 or more"):
        sdxl.timestep(-1.0)


def test_interpolation_keeps_the_shape_of_its_argument(zero_terminal: NoiseSchedule) -> None:
    t = torch.tensor([[0.0, 3.5], [998.5, 999.0]])
    assert zero_terminal.sigma(t).shape == (2, 2)
    assert torch.equal(zero_terminal.sigma(torch.arange(1000)), zero_terminal.sigmas)


def test_trailing_and_simple_are_their_authors_formulas_for_every_number_of_steps(
    zero_terminal: NoiseSchedule,
) -> None:
    for steps in range(1, 1001):
        trailing = np.round(np.arange(1000, 0, -1000 / steps)) - 1
        simple = [999 - int(i * (1000 / steps)) for i in range(steps)]
        found = zero_terminal.sampling_timesteps(steps, "trailing").tolist()
        assert found == trailing[:steps].tolist()
        assert zero_terminal.sampling_timesteps(steps, "simple").tolist() == simple


@given(steps=st.integers(1, 60), spacing=st.sampled_from(SPACINGS), start=st.floats(1.0, 1e6))
def test_every_spacing_falls_strictly_from_its_start(
    steps: int, spacing: str, start: float
) -> None:
    for sigma in (None, start):
        timesteps = ZERO_TERMINAL.sampling_timesteps(steps, spacing, sigma)
        assert len(timesteps) == steps
        assert bool((timesteps.diff() < 0).all())
        assert float(timesteps[-1]) >= 0
        first = 999.0 if sigma is None else float(ZERO_TERMINAL.timestep(sigma))
        assert float(timesteps[0]) == pytest.approx(first, rel=1e-15)


def test_spacing_errors_say_what_to_do(zero_terminal: NoiseSchedule, sdxl: NoiseSchedule) -> None:
    with pytest.raises(NadirError, match="use one of native, trailing, simple"):
        zero_terminal.sampling_timesteps(10, "leading")
    with pytest.raises(NadirError, match="use 1 to 1000 steps"):
        zero_terminal.sampling_timesteps(1001, "native")
    with pytest.raises(NadirError, match="0 sampling steps"):
        zero_terminal.sampling_timesteps(0, "native")
    with pytest.raises(NadirError, match=r"start_sigma 20 is outside .* 0\.0291672 to 14\.6146"):
        sdxl.sampling_timesteps(10, "native", 20.0)
