"""How much noise a canvas needs (paper §2.3): the length rule and the leak of the mean colour."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nadir.diffusion.sdxl import LAST_SIGMA, SIDE_PX, VAE_FACTOR
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from torch import Tensor

MEAN_SPREAD = 0.5


def canvas_length(width_px: float, height_px: float) -> float:
    """Length of a canvas relative to 1024 x 1024: the square root of the ratio of areas."""
    return math.sqrt(width_px * height_px) / SIDE_PX


def minimum_sigma(length: float, *, reference_sigma: float = LAST_SIGMA) -> float:
    """Least sigma at which a canvas `length` times as long shows as little as the reference.

    Averaging over the added pixels divides the noise by the length, so sigma grows with it
    (doubling the length doubles sigma). That takes the added pixels for fully redundant: a
    canvas with new content in them needs less. Steps must begin at or above this sigma, so it
    is a lower bound on the first finite sigma of a run from infinity.
    """
    return length * reference_sigma


def dc_leak(sigma: float, latent_pixels: int, mean_spread: float = MEAN_SPREAD) -> float:
    """L = tau^2 / (tau^2 + sigma^2 / N): how far an ideal denoiser trusts the noisy mean.

    The canvas mean has deviation tau around what the prompt says; noise moves the mean of N
    pixels by sigma / sqrt(N). From pure noise, whose mean is 0, the share L of the mean colour
    that was asked for is lost.

    Args:
        sigma: Noise level, >= 0; infinity leaks nothing.
        latent_pixels: N, height times width of the latent.
        mean_spread: tau, in units of the data's standard deviation.

    Returns:
        0 (the prompt alone decides) to 1 (the starting noise alone does).
    """
    return 1 / (1 + sigma**2 / (latent_pixels * mean_spread**2))


def sigma_of_leak(leak: float, latent_pixels: int, mean_spread: float = MEAN_SPREAD) -> float:
    """The sigma at which `dc_leak` is `leak` (0 to 1); tau sqrt(N) at a half."""
    if leak == 0:
        return math.inf
    return mean_spread * math.sqrt(latent_pixels * (1 / leak - 1))


@dataclass(frozen=True)
class CanvasAdvice:
    """Whether a run of sigmas suits a canvas.

    Attributes:
        width_px: Canvas width.
        height_px: Canvas height.
        length: Canvas length relative to 1024 x 1024.
        minimum_sigma: Lower bound on the first finite sigma.
        first_finite_sigma: The run's.
        longest_length: Canvas length, relative to 1024 x 1024, that the run covers.
        start_leak: Leak of the mean colour at the run's start; 0 from infinity.
        finite_leak: What it would be if the run began at its first finite sigma.
    """

    width_px: int
    height_px: int
    length: float
    minimum_sigma: float
    first_finite_sigma: float
    longest_length: float
    start_leak: float
    finite_leak: float

    @property
    def covered(self) -> bool:
        """Whether the first finite sigma is high enough."""
        return self.first_finite_sigma >= self.minimum_sigma


def canvas_advice(
    sigmas: Tensor, width_px: int, height_px: int, mean_spread: float = MEAN_SPREAD
) -> CanvasAdvice:
    """Measure a run of sigmas against a canvas.

    Args:
        sigmas: Falling, without the final 0; may begin with infinity.
        width_px: Canvas width.
        height_px: Canvas height.
        mean_spread: tau of `dc_leak`.

    Raises:
        NadirError: A canvas smaller than one latent pixel, or a run of infinity alone.
    """
    stride = VAE_FACTOR
    latent_pixels = (width_px // stride) * (height_px // stride)
    if latent_pixels < 1:
        raise NadirError(
            f"a canvas of {width_px}x{height_px} has no latent pixel",
            where="canvas",
            fix=f"give at least {stride}x{stride}",
        )
    finite = [sigma for sigma in sigmas.tolist() if math.isfinite(sigma)]
    if not finite:
        raise NadirError(
            "one step from infinite sigma has no finite sigma to judge",
            where="steps",
            fix="use two steps or more",
        )
    length = canvas_length(width_px, height_px)
    return CanvasAdvice(
        width_px=width_px,
        height_px=height_px,
        length=length,
        minimum_sigma=minimum_sigma(length),
        first_finite_sigma=finite[0],
        longest_length=finite[0] / LAST_SIGMA,
        start_leak=dc_leak(float(sigmas[0]), latent_pixels, mean_spread),
        finite_leak=dc_leak(finite[0], latent_pixels, mean_spread),
    )
