"""One noise level as plain floats, and one sampler step as the rules see it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from nadir.diffusion.prediction import to_epsilon, to_x0

if TYPE_CHECKING:
    from torch import Tensor


class NoiseLevel(NamedTuple):
    """alpha, varsigma (VP) and sigma = varsigma / alpha (VE); at infinity 0, 1 and inf."""

    alpha: float
    varsigma: float
    sigma: float

    @classmethod
    def of(cls, sigma: float) -> NoiseLevel:
        """The level of a sigma from 0 to infinity."""
        if math.isinf(sigma):
            return cls(alpha=0.0, varsigma=1.0, sigma=sigma)
        length = math.hypot(1.0, sigma)
        return cls(alpha=1.0 / length, varsigma=sigma / length, sigma=sigma)


@dataclass(frozen=True)
class Evaluation:
    """One network evaluation: input, output and the level it was made at.

    All tensors are in the dtype the sampler computes in, float32 or better.
    """

    prediction: str
    output_BCHW: Tensor
    noisy_BCHW: Tensor
    level: NoiseLevel

    @property
    def x0(self) -> Tensor:
        """The x0 it implies; -v at infinite sigma."""
        return to_x0(self.prediction, self.output_BCHW, self.noisy_BCHW, self._alphas_cumprod)

    @property
    def epsilon(self) -> Tensor:
        """The noise it implies; the input itself at infinite sigma."""
        return to_epsilon(self.prediction, self.output_BCHW, self.noisy_BCHW, self._alphas_cumprod)

    @property
    def _alphas_cumprod(self) -> Tensor:
        return torch.tensor(self.level.alpha**2, dtype=torch.float64)


def share_of_noise(eta: float) -> float:
    """`eta` itself: the share of fresh noise, 0 (none) to 1 (the posterior's).

    Raises:
        ValueError: It lies outside.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in 0 to 1, not {eta}")
    return eta


Generators = torch.Generator | list[torch.Generator] | None


def standard_normal(like_BCHW: Tensor, generator: Generators) -> Tensor:
    """Noise of the shape, dtype and device of `like`, drawn on the generator's device.

    Args:
        like_BCHW: Template.
        generator: None for the global one; a list has one generator per sample.

    Raises:
        ValueError: A list whose length is not the batch size.
    """
    if isinstance(generator, list):
        if len(generator) != len(like_BCHW):
            raise ValueError(f"{len(generator)} generators for {len(like_BCHW)} samples")
        parts = [standard_normal(like_BCHW[i : i + 1], own) for i, own in enumerate(generator)]
        return torch.cat(parts)
    device = like_BCHW.device if generator is None else generator.device
    noise = torch.randn(like_BCHW.shape, generator=generator, device=device, dtype=like_BCHW.dtype)
    return noise.to(like_BCHW.device)
