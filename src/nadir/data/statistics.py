"""Per-channel mean and standard deviation of latents (paper App. B), mergeable over any parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ChannelMoments:
    """Count, mean and sum of squared deviations of each channel, in float64.

    Attributes:
        images: Images seen.
        pixels: Latent pixels seen, over all images; every pixel weighs the same.
        mean: [C].
        squared_deviations: [C] sum of (x - mean)².
    """

    images: int
    pixels: int
    mean: Floats
    squared_deviations: Floats

    @classmethod
    def none(cls, channels: int) -> ChannelMoments:
        """Moments of no image at all, neutral to `merge`."""
        return cls(0, 0, np.zeros(channels), np.zeros(channels))

    @classmethod
    def of(cls, latents_BCHW: ArrayLike) -> ChannelMoments:
        """Moments of a batch of latents [B, C, H, W] of any float type."""
        values = np.asarray(latents_BCHW, dtype=np.float64)
        mean = values.mean(axis=(0, 2, 3))
        deviations = values - mean[:, None, None]
        pixels = values.shape[0] * values.shape[2] * values.shape[3]
        return cls(values.shape[0], pixels, mean, (deviations**2).sum(axis=(0, 2, 3)))

    def merge(self, other: ChannelMoments) -> ChannelMoments:
        """Moments of both parts together (Chan et al.'s parallel form of Welford's update).

        With δ = mean_b - mean_a and n = n_a + n_b: mean = mean_a + δ n_b / n and
        M2 = M2_a + M2_b + δ² n_a n_b / n.
        """
        pixels = self.pixels + other.pixels
        if not pixels:
            return self
        delta = other.mean - self.mean
        share = other.pixels / pixels
        between = delta**2 * (self.pixels * share)
        return ChannelMoments(
            self.images + other.images,
            pixels,
            self.mean + delta * share,
            self.squared_deviations + other.squared_deviations + between,
        )

    @property
    def std(self) -> Floats:
        """[C] population standard deviation √(M2 / n); zeros for no image."""
        return np.sqrt(self.squared_deviations / max(self.pixels, 1))
