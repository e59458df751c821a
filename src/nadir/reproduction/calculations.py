"""Claims that need no training: identities, tables and limits, computed with the project's code."""

from __future__ import annotations

import math
from typing import Any

import torch

from nadir.diffusion.prediction import add_noise, target, to_x0
from nadir.diffusion.resolution import dc_leak
from nadir.diffusion.samplers import make_sampler
from nadir.diffusion.schedule import NoiseSchedule
from nadir.diffusion.sdxl import LAST_SIGMA

_DRAWS = 5
_MOST = 3.0  # orders of magnitude: an error of zero says no more than a very small one
PRINTED = {
    880: (14.6, 10.8, 8.3, 6.6, 5.4),
    932: (29.0, 17.8, 12.4, 9.2, 7.2),
}
"""First sigmas of 28 native steps from two timesteps, as paper §2.3 prints them."""


def _inside(error: float, tolerance: float) -> float:
    """Orders of magnitude that an error lies inside a tolerance."""
    return math.log10(tolerance / max(error, tolerance / 10**_MOST))


def _draws(count: int = _DRAWS) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in range(count)]


def identities() -> list[float]:
    """v-error against x0-error and noise-error at random SNR; float64, tolerance 1e-9."""
    values = []
    for generator in _draws():
        x, n, guess = torch.randn(3, 64, 16, dtype=torch.float64, generator=generator)
        abar = torch.rand(64, dtype=torch.float64, generator=generator).clamp(0.01, 0.99)
        z, v = add_noise(x, n, abar), target("v", x, n, abar)
        wrong = v + 0.1 * guess
        snr = abar / (1 - abar)
        v_error = (wrong - v).square().sum(1)
        x_error = (to_x0("v", wrong, z, abar) - x).square().sum(1)
        values.append(_inside(float((v_error / ((1 + snr) * x_error) - 1).abs().max()), 1e-9))
    return values


def defined_at_infinity() -> list[float]:
    """Share of finite guesses of the clean image at SNR 0: from v, less that from epsilon."""
    values = []
    zero = torch.tensor(0.0, dtype=torch.float64)
    for generator in _draws():
        noise, out = torch.randn(2, 256, dtype=torch.float64, generator=generator)
        from_v = to_x0("v", out[None], noise[None], zero)
        from_epsilon = (noise - out) / zero
        shares = [float(guess.isfinite().double().mean()) for guess in (from_v, from_epsilon)]
        values.append(shares[0] - shares[1])
    return values


def visible_mean(pixels: int = 1024, spread: float = 0.5, canvases: int = 20_000) -> list[float]:
    """0.02 less the relative error of sqrt(L) for how far the last stock step shows the mean."""
    values = []
    for generator in _draws():
        mean = spread * torch.randn(canvases, generator=generator, dtype=torch.float64)
        noise = torch.randn(canvases, generator=generator, dtype=torch.float64)
        seen = mean + LAST_SIGMA * noise / pixels**0.5
        found = float(torch.corrcoef(torch.stack([mean, seen]))[0, 1])
        values.append(0.02 - abs(found / math.sqrt(dc_leak(LAST_SIGMA, pixels, spread)) - 1))
    return values


def schedule_table() -> list[float]:
    """Rescaled schedule: no signal at the end, first beta kept, sigma of seven timesteps; 1e-5."""
    plain, rescaled = NoiseSchedule.scaled_linear(), NoiseSchedule.scaled_linear().zero_terminal()
    if float(rescaled.snr[-1]) != 0:
        return [-1.0, -1.0]
    known = {0: 0.0291672, 250: 0.729841, 500: 1.77456, 880: 14.6411, 962: 56.1782, 992: 317.666}
    errors = [abs(float(rescaled.sigmas[step]) / sigma - 1) for step, sigma in known.items()]
    errors.append(abs(float(rescaled.betas[0] / plain.betas[0]) - 1))
    return [_inside(error, 1e-5) for error in errors]


def printed_sigmas() -> list[float]:
    """0.05 less the distance of each of the ten sigmas that the paper prints."""
    schedule = NoiseSchedule.scaled_linear().zero_terminal()
    values = []
    for start, printed in PRINTED.items():
        sigmas = schedule.sigma(torch.linspace(start, 0, 28, dtype=torch.float64))
        values += [0.0501 - abs(float(s) - p) for s, p in zip(sigmas, printed, strict=False)]
    return values


def exact_first_step() -> list[float]:
    """First step from infinite sigma by Euler, DDIM and DPM++ 2M against y1 = s1 n + D; 1e-5."""
    schedule, values = NoiseSchedule.scaled_linear().zero_terminal(), []
    for generator in _draws():
        noise, out = torch.randn(2, 1, 4, 8, 8, generator=generator)
        errors = []
        for name in ("euler", "ddim", "dpmpp_2m"):
            sampler = make_sampler(schedule, prediction="v", name=name, spacing="native")
            sampler.set_timesteps(28)
            stepped: Any = sampler.step(out, sampler.timesteps[0], noise)
            sigma = float(sampler.sigmas[1])
            wanted = (sigma * noise - out) / math.hypot(1.0, sigma)
            errors.append(float((stepped.prev_sample - wanted).abs().max()))
        values.append(_inside(max(errors), 1e-5))
    return values


def leak_formula(pixels: int = 1024, spread: float = 0.5, canvases: int = 200_000) -> list[float]:
    """0.01 less the error of L as the slope of the mean on the noised mean, at five sigmas."""
    values = []
    sigmas = (7.3, 14.6, 29.2, 56.2, 136.2)
    for sigma, generator in zip(sigmas * 2, _draws(2 * len(sigmas)), strict=True):
        mean = spread * torch.randn(canvases, generator=generator, dtype=torch.float64)
        noise = torch.randn(canvases, generator=generator, dtype=torch.float64)
        seen = mean + sigma * noise / pixels**0.5
        slope = float((mean * seen).mean() / seen.square().mean())
        values.append(0.01 - abs(slope - dc_leak(sigma, pixels, spread)))
    return values


def precision() -> list[float]:
    """How many orders bfloat16 lies farther from float64 than float32, at both ends of the way."""
    schedule, values = NoiseSchedule.scaled_linear().zero_terminal(), []
    for generator in _draws():
        x, n = torch.randn(2, 3, 4096, dtype=torch.float64, generator=generator)
        abar = schedule.alphas_cumprod[torch.tensor([0, 998, 999])]
        z, v = add_noise(x, n, abar), target("v", x, n, abar)
        alpha, rest = abar.sqrt()[:, None], (1 - abar).sqrt()[:, None]
        errors = []
        for kind in (torch.bfloat16, torch.float32):
            low = (alpha.to(kind) * z.to(kind) - rest.to(kind) * v.to(kind)).double()
            errors.append(float((low - x).square().mean().sqrt()))
        values.append(math.log10(errors[0] / errors[1]))
    return values
