"""Every sampler from infinite sigma, against the rules written out in variance-exploding scale."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from tests.diffusion.driver import gaussian_x0, sample

from nadir.diffusion.names import SPACINGS
from nadir.diffusion.samplers import SAMPLERS, Sampler, make_sampler
from nadir.diffusion.samplers.dpmpp import DPMpp2MSDESampler
from nadir.diffusion.samplers.euler import EulerAncestralSampler, ancestral_split
from nadir.diffusion.schedule import NoiseSchedule

ZERO_TERMINAL = NoiseSchedule.scaled_linear().zero_terminal()
SIGMA_1 = 56.1782
seeds = st.integers(0, 2**31)


def noise(seed: int = 0, shape: tuple[int, ...] = (2, 4, 8, 8)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def sampler_on(sigmas: list[float], name: str = "euler", prediction: str = "v") -> Sampler:
    sampler = make_sampler(ZERO_TERMINAL, prediction=prediction, name=name)
    sampler.set_timesteps(sigmas=sigmas)
    return sampler


def first_y(name: str, sigma_0: float, denoised: float = -0.7) -> tuple[torch.Tensor, torch.Tensor]:
    """The starting noise, and the sample in VE scale after the step from sigma_0 to SIGMA_1."""
    n = noise()
    sampler = sampler_on([sigma_0, SIGMA_1, 1.0], name)
    z = sample(sampler, n, lambda z, _: torch.full_like(z, denoised), evaluations=1)
    return n, z * math.hypot(1, SIGMA_1)


@pytest.mark.parametrize("name", ["euler", "ddim", "dpmpp_2m", "heun"])
def test_first_step_from_infinity_is_sigma_1_n_plus_d(name: str) -> None:
    n, y = first_y(name, math.inf)
    torch.testing.assert_close(y, SIGMA_1 * n - 0.7, rtol=1e-12, atol=1e-12)


def test_first_step_coefficients_from_finite_sigmas(oracles: dict[str, Any]) -> None:
    for sigma_0, expected in oracles["first_step_coef_D(1-s1/s0)_s1=56.1782"].items():
        _, with_d = first_y("euler", float(sigma_0), 1.0)
        _, without = first_y("euler", float(sigma_0), 0.0)
        assert float((with_d - without).mean()) == pytest.approx(expected, rel=1e-5)


@given(
    steps=st.integers(1, 40),
    spacing=st.sampled_from(SPACINGS),
    prediction=st.sampled_from(["v", "x0"]),
    seed=seeds,
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple),
)
def test_ddim_is_euler(
    steps: int, spacing: str, prediction: str, seed: int, shape: tuple[int, ...]
) -> None:
    results = []
    for name in ("euler", "ddim"):
        sampler = make_sampler(ZERO_TERMINAL, prediction=prediction, name=name, spacing=spacing)
        sampler.set_timesteps(steps)
        results.append(sample(sampler, noise(seed, shape)))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


@given(start=st.floats(1.0, 14.6), seed=seeds)
def test_ddim_is_euler_for_epsilon_prediction_on_a_finite_schedule(start: float, seed: int) -> None:
    results = []
    for name in ("euler", "ddim"):
        sampler = make_sampler(
            NoiseSchedule.scaled_linear(), prediction="epsilon", name=name, start_sigma=start
        )
        sampler.set_timesteps(12)
        results.append(sample(sampler, noise(seed)))
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-10)


def test_predictions_give_the_same_sample(sdxl: NoiseSchedule) -> None:
    results = []
    for prediction in ("v", "x0", "epsilon"):
        sampler = make_sampler(sdxl, prediction=prediction, name="dpmpp_2m")
        sampler.set_timesteps(20)
        results.append(sample(sampler, noise()))
    torch.testing.assert_close(results[0], results[1], rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(results[0], results[2], rtol=1e-10, atol=1e-10)


@given(next_sigma=st.floats(0.01, 100), ratio=st.floats(1.001, 1e6), eta=st.floats(0, 1))
def test_ancestral_variances_add_up(next_sigma: float, ratio: float, eta: float) -> None:
    for sigma in (next_sigma * ratio, math.inf):
        down, up = ancestral_split(sigma, next_sigma, eta)
        assert down**2 + up**2 == pytest.approx(next_sigma**2, rel=1e-12)
    assert up == pytest.approx(eta * next_sigma, rel=1e-12)  # from infinity


def test_ancestral_noise_has_the_posterior_variance() -> None:
    """Data N(-1, 0.5^2): with an exact denoiser, every level keeps the forward variance."""
    sigmas = [math.inf, 20.0, 5.0, 2.0, 1.0]
    sampler = EulerAncestralSampler(ZERO_TERMINAL, prediction="v", eta=1.0)
    sampler.set_timesteps(sigmas=sigmas)
    generator = torch.Generator().manual_seed(1)
    x0 = -1 + 0.5 * torch.randn(400_000, generator=generator, dtype=torch.float64)
    n = torch.randn(400_000, generator=generator, dtype=torch.float64)
    z = sample(sampler, n, lambda _z, _s: x0, evaluations=1, generator=generator)
    y = z * math.hypot(1, 20.0)
    assert float((y - x0).std()) == pytest.approx(20.0, rel=5e-3)
    assert abs(float(torch.corrcoef(torch.stack([y - x0, n]))[0, 1])) < 5e-3  # all noise is fresh


@given(eta=st.floats(0, 1), seed=seeds)
@example(eta=1 - 2**-53, seed=0)  # where a difference of squares would lose its digits
def test_ddim_with_eta_is_euler_ancestral_with_eta(eta: float, seed: int) -> None:
    ancestral = EulerAncestralSampler(ZERO_TERMINAL, prediction="v", eta=eta)
    ddim = make_sampler(ZERO_TERMINAL, prediction="v", name="ddim")
    for sampler in (ancestral, ddim):
        sampler.set_timesteps(12)
    first = sample(ancestral, noise(seed), generator=torch.Generator().manual_seed(5))
    second = sample(ddim, noise(seed), generator=torch.Generator().manual_seed(5), eta=eta)
    torch.testing.assert_close(first, second, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", [EulerAncestralSampler, DPMpp2MSDESampler])
def test_stochastic_samplers_without_noise_are_their_deterministic_selves(kind: type) -> None:
    stochastic = kind(ZERO_TERMINAL, prediction="v", eta=0.0)
    name = "euler" if kind is EulerAncestralSampler else "dpmpp_2m"
    plain = make_sampler(ZERO_TERMINAL, prediction="v", name=name)
    for sampler in (stochastic, plain):
        sampler.set_timesteps(15)
    results = [sample(sampler, noise()) for sampler in (stochastic, plain)]
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)


def k_diffusion_2m(sigmas: list[float], y: torch.Tensor) -> torch.Tensor:
    """`sample_dpmpp_2m` in VE scale, first order over the infinite step."""
    old = None
    for i, (sigma, to) in enumerate(zip(sigmas, [*sigmas[1:], 0.0], strict=True)):
        z = y / math.hypot(1, sigma) if math.isfinite(sigma) else y
        d = gaussian_x0(z, sigma)
        if math.isinf(sigma):
            y = to * y + d
            continue
        h = math.log(sigma / to) if to else math.inf
        corrected = d
        if old is not None and to:
            r = math.log(sigmas[i - 1] / sigma) / h
            corrected = (1 + 1 / (2 * r)) * d - old / (2 * r)
        y = (to / sigma) * y - math.expm1(-h) * corrected
        old = d
    return y


@pytest.mark.parametrize("start", [math.inf, 14.6])
def test_dpmpp_2m_is_k_diffusions_with_the_infinite_node_left_out(start: float) -> None:
    sigmas = [start, 9.0, 5.0, 3.0, 1.5, 0.7, 0.3, 0.1]
    n = noise()
    y = n if math.isinf(start) else n * math.hypot(1, start)
    found = sample(sampler_on(sigmas, "dpmpp_2m"), n)
    torch.testing.assert_close(found, k_diffusion_2m(sigmas, y), rtol=1e-12, atol=1e-12)


def test_second_2m_step_after_infinity_is_first_order() -> None:
    n, sigmas = noise(), [math.inf, SIGMA_1, 25.9, 10.0]
    two = sample(sampler_on(sigmas, "dpmpp_2m"), n, evaluations=2)
    one = sample(sampler_on(sigmas, "euler"), n, evaluations=2)
    assert torch.equal(two, one)
    three = sample(sampler_on(sigmas, "dpmpp_2m"), n, evaluations=3)
    assert not torch.allclose(three, sample(sampler_on(sigmas, "euler"), n, evaluations=3))


def test_history_weight_after_a_finite_surrogate(oracles: dict[str, Any]) -> None:
    """What a clamped terminal sigma lets into the second step: 1 / 2r of the first x0."""
    third = float(ZERO_TERMINAL.sigma(925))
    zero = torch.zeros(1, dtype=torch.float64)
    for sigma_0, expected in oracles["dpmpp_second_step_half_over_r"].items():
        sampler = sampler_on([float(sigma_0), SIGMA_1, third, 1.0], "dpmpp_2m", "x0")
        sampler.step(zero + 1, sampler.timesteps[0], zero)
        second = sampler.step(zero, sampler.timesteps[1], zero, return_dict=False)[0]
        y = float(second) * math.hypot(1, third)
        assert -y / (1 - third / SIGMA_1) == pytest.approx(expected, rel=1e-4)


def test_heun_is_the_trapezoid_in_ve_scale_and_euler_at_both_ends() -> None:
    sigmas = [math.inf, 20.0, 5.0, 1.0]
    n = noise()
    y = 20.0 * n + gaussian_x0(n, math.inf)
    for sigma, to in ((20.0, 5.0), (5.0, 1.0)):
        slope = (y - gaussian_x0(y / math.hypot(1, sigma), sigma)) / sigma
        guess = y + (to - sigma) * slope
        end = (guess - gaussian_x0(guess / math.hypot(1, to), to)) / to
        y = y + (to - sigma) * (slope + end) / 2
    y = gaussian_x0(y / math.hypot(1, 1.0), 1.0)
    sampler = sampler_on(sigmas, "heun")
    assert len(sampler.timesteps) == 7
    torch.testing.assert_close(sample(sampler, n), y, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", list(SAMPLERS))
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 3, 28])
def test_no_sampler_ever_makes_a_nan(name: str, spacing: str, steps: int) -> None:
    for schedule in (ZERO_TERMINAL, ZERO_TERMINAL.shifted(4), NoiseSchedule.scaled_linear()):
        sampler = make_sampler(schedule, prediction="v", name=name, spacing=spacing)
        sampler.set_timesteps(steps)
        z = noise(shape=(1, 4, 4, 4)).float()
        for i, t in enumerate(sampler.timesteps):
            z = sampler.step(torch.zeros_like(z) if i % 2 else -z, t, z, return_dict=False)[0]
            assert bool(z.isfinite().all()), (name, i)


# Not 2M: its history of a finite start fades with 1 / log(sigma) only; not Heun: it diverges.
@pytest.mark.parametrize("name", ["euler", "ddim"])
def test_finite_starts_approach_the_infinite_one_at_rate_one_over_sigma(name: str) -> None:
    rest = [SIGMA_1, 20.0, 5.0, 1.0, 0.2]
    exact = sample(sampler_on([math.inf, *rest], name), noise())
    starts = [1e3, 1e4, 1e5, 1e6]
    errors = [
        float((sample(sampler_on([start, *rest], name), noise()) - exact).abs().max())
        for start in starts
    ]
    for small, large in zip(errors[1:], errors[:-1], strict=True):
        assert large / small == pytest.approx(10, rel=0.1)


def test_a_large_surrogate_is_no_substitute_for_infinity() -> None:
    """2M keeps 1 / log(sigma) of it in its history, and Heun's mean of slopes diverges."""
    rest = [SIGMA_1, 20.0, 5.0, 1.0, 0.2]
    errors = {}
    for name in ("euler", "dpmpp_2m", "heun"):
        exact = sample(sampler_on([math.inf, *rest], name), noise())
        found = sample(sampler_on([1e6, *rest], name), noise())
        errors[name] = float((found - exact).abs().max())
    assert errors["dpmpp_2m"] > 10 * errors["euler"]
    assert errors["heun"] > 1


def test_deviation_of_a_finite_first_step_is_the_closed_form() -> None:
    """y1(s0) - y1(inf) = D(s0) - D(inf) - (s1 / s0) D(s0), for y0 = s0 n."""
    n, spread, mean = noise(), 0.5, -1.0
    for sigma_0 in (1000.0, 4096.0, 20000.0):
        start = n * sigma_0 / math.hypot(1, sigma_0)  # k-diffusion's y0, in VP scale
        found = sample(sampler_on([sigma_0, SIGMA_1, 1.0]), start, evaluations=1)
        infinite = sample(sampler_on([math.inf, SIGMA_1, 1.0]), n, evaluations=1)
        d = (spread**2 * sigma_0 * n + sigma_0**2 * mean) / (spread**2 + sigma_0**2)
        expected = d - mean - SIGMA_1 / sigma_0 * d
        deviation = (found - infinite) * math.hypot(1, SIGMA_1)
        torch.testing.assert_close(deviation, expected, rtol=1e-8, atol=1e-10)


def test_mean_of_the_start_leaks_from_finite_sigmas_only() -> None:
    """The paper's black picture: a canvas of one colour, an ideal denoiser of its mean."""
    pixels, spread, mean = 1024, 0.5, -1.0

    def denoiser(z: torch.Tensor, sigma: float) -> torch.Tensor:
        centre = gaussian_x0(z.mean(dim=1, keepdim=True), sigma / math.sqrt(pixels), mean, spread)
        if math.isfinite(sigma):  # the mean of y has noise sigma / sqrt(pixels)
            y = z.mean(dim=1, keepdim=True) * math.hypot(1, sigma)
            trust = spread**2 / (spread**2 + sigma**2 / pixels)
            centre = trust * y + (1 - trust) * mean
        return centre.expand_as(z)

    results = {}
    for start in (14.6, 29.0, 56.0, math.inf):
        sampler = make_sampler(ZERO_TERMINAL, prediction="v", spacing="native", start_sigma=start)
        sampler.set_timesteps(28)
        results[start] = float(sample(sampler, noise(shape=(64, pixels)), denoiser).mean())
    # two-decimal neighbourhoods of -.3501, -.6325, -.8416 and -1.0897 of one other noise draw
    assert -0.5 < results[14.6] < -0.2
    assert results[14.6] > results[29.0] > results[56.0] > results[math.inf]
    assert results[math.inf] == pytest.approx(-1.0, abs=0.05)
