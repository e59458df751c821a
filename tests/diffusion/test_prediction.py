"""Conversions between x0, noise and v, in any shape and dtype, also at both ends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nadir.diffusion.names import PREDICTIONS
from nadir.diffusion.prediction import add_noise, target, to_epsilon, to_v, to_x0
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError

ZERO_TERMINAL = NoiseSchedule.scaled_linear().zero_terminal()
DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
# relative to values of about 1, a few roundings of each type
TOLERANCE = {
    torch.float64: 1e-12,
    torch.float32: 1e-5,
    torch.bfloat16: 6e-2,
    torch.float16: 8e-3,
}
shapes = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


def draw(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(seed)
    x0 = torch.randn(shape, generator=generator, dtype=torch.float64)
    noise = torch.randn(shape, generator=generator, dtype=torch.float64)
    t = torch.randint(0, 1000, shape[:1], generator=generator)
    return x0.to(dtype), noise.to(dtype), ZERO_TERMINAL.alphas_cumprod[t]


@given(shape=shapes, seed=st.integers(0, 2**31), dtype=st.sampled_from(DTYPES))
def test_v_gives_back_x0_and_noise(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> None:
    x0, noise, abar = draw(shape, seed, dtype)
    noisy = add_noise(x0, noise, abar)
    v = target("v", x0, noise, abar)
    assert noisy.dtype == v.dtype == dtype
    limits = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(to_x0("v", v, noisy, abar), x0, **limits)
    torch.testing.assert_close(to_epsilon("v", v, noisy, abar), noise, **limits)


@given(shape=shapes, seed=st.integers(0, 2**31), source=st.sampled_from(PREDICTIONS))
def test_every_prediction_converts_to_the_same_v_x0_and_noise(
    shape: tuple[int, ...], seed: int, source: str
) -> None:
    x0, noise, abar = draw(shape, seed, torch.float64)
    abar = abar.clamp(min=1e-6)  # epsilon has no x0 at the terminal step
    noisy = add_noise(x0, noise, abar)
    output = target(source, x0, noise, abar)
    for convert, wanted in ((to_x0, "x0"), (to_epsilon, "epsilon"), (to_v, "v")):
        found = convert(source, output, noisy, abar)
        # dividing by alpha = 1e-3 costs three digits
        torch.testing.assert_close(found, target(wanted, x0, noise, abar), rtol=1e-9, atol=1e-9)


@given(shape=shapes, seed=st.integers(0, 2**31))
def test_squared_errors_of_v_x0_and_epsilon_are_multiples_of_each_other(
    shape: tuple[int, ...], seed: int
) -> None:
    x0, noise, abar = draw(shape, seed, torch.float64)
    abar = abar.clamp(min=1e-6)
    noisy = add_noise(x0, noise, abar)
    v = target("v", x0, noise, abar)
    wrong = v + torch.randn(shape, dtype=torch.float64)
    snr = (abar / (1 - abar)).reshape(-1, *[1] * (len(shape) - 1))
    error_v = (wrong - v) ** 2
    error_x0 = (to_x0("v", wrong, noisy, abar) - x0) ** 2
    error_epsilon = (to_epsilon("v", wrong, noisy, abar) - noise) ** 2
    limits = {"rtol": 1e-8, "atol": 1e-12}
    torch.testing.assert_close(error_v, (1 + snr) * error_x0, **limits)
    torch.testing.assert_close(error_v, (1 + 1 / snr) * error_epsilon, **limits)


@given(shape=shapes, seed=st.integers(0, 2**31))
def test_noising_is_a_rotation(shape: tuple[int, ...], seed: int) -> None:
    x0, noise, abar = draw(shape, seed, torch.float64)
    noisy, v = add_noise(x0, noise, abar), target("v", x0, noise, abar)
    torch.testing.assert_close(noisy**2 + v**2, x0**2 + noise**2, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_both_ends_are_exact_to_the_bit(dtype: torch.dtype) -> None:
    x0, noise = torch.randn(2, 3, 4, 4, 4, dtype=torch.float64).to(dtype).unbind(0)
    zero, one = torch.zeros(3, dtype=torch.float64), torch.ones(3, dtype=torch.float64)
    assert torch.equal(add_noise(x0, noise, zero), noise)
    assert torch.equal(target("v", x0, noise, zero), -x0)
    assert torch.equal(to_x0("v", -x0, noise, zero), x0)
    assert torch.equal(to_epsilon("v", -x0, noise, zero), noise)
    assert torch.equal(to_epsilon("x0", x0, noise, zero), noise)
    assert torch.equal(to_v("x0", x0, noise, zero), -x0)
    assert torch.equal(add_noise(x0, noise, one), x0)
    assert torch.equal(target("v", x0, noise, one), noise)
    assert torch.equal(to_x0("v", noise, x0, one), x0)
    assert torch.equal(to_epsilon("v", noise, x0, one), noise)
    assert torch.equal(to_x0("epsilon", noise, x0, one), x0)
    assert torch.equal(to_v("epsilon", noise, x0, one), noise)


def test_oracle_values(zero_terminal: NoiseSchedule, oracles: dict[str, Any]) -> None:
    x0, noise = torch.tensor([1.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)
    for t, expected in oracles["v_example_x1_eps2_zt"].items():
        abar = zero_terminal.alphas_cumprod[int(t)]
        assert float(add_noise(x0, noise, abar)) == pytest.approx(expected["z"], rel=1e-5)
        assert float(target("v", x0, noise, abar)) == pytest.approx(expected["v"], rel=1e-5)


def test_questions_without_an_answer_are_errors() -> None:
    x, zero, one = torch.ones(2, 3), torch.zeros(2), torch.ones(2)
    with pytest.raises(NadirError, match="x0 cannot be derived from epsilon where the SNR is zero"):
        to_x0("epsilon", x, x, zero)
    with pytest.raises(NadirError, match="v cannot be derived from epsilon where the SNR is zero"):
        to_v("epsilon", x, x, zero)
    with pytest.raises(NadirError, match="epsilon cannot be derived from x0 where the SNR is inf"):
        to_epsilon("x0", x, x, one)
    with pytest.raises(NadirError, match="v cannot be derived from x0 where the SNR is infinite"):
        to_v("x0", x, x, one)
    with pytest.raises(NadirError, match="'flow' is not a prediction"):
        target("flow", x, x, one)
    with pytest.raises(ValueError, match=r"not shape \[3\] for 2 samples"):
        add_noise(x, x, torch.ones(3))


def test_epsilon_teaches_nothing_at_zero_snr_but_v_does(zero_terminal: NoiseSchedule) -> None:
    x0, noise = torch.randn(64, 4), torch.randn(64, 4)
    abar = zero_terminal.alphas_cumprod[-1]
    noisy = add_noise(x0, noise, abar)
    copied = torch.mean((noisy - target("epsilon", x0, noise, abar)) ** 2)
    best_constant = torch.var(target("v", x0, noise, abar))
    assert float(copied) == 0  # the input is the answer
    assert float(best_constant) > 0.5
