"""Per-channel mean and standard deviation of latents (paper App. B), mergeable over any parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

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


@dataclass(frozen=True)
class ImageMoments:
    """Moments of each image by itself, which say how sure a sample's result is.

    Attributes:
        pixels: [N] latent pixels.
        mean: [N, C].
        squared_deviations: [N, C] from the image's own mean.
    """

    pixels: Floats
    mean: Floats
    squared_deviations: Floats

    @classmethod
    def of(cls, latents_BCHW: ArrayLike) -> ImageMoments:
        """Moments of each of a batch of latents [B, C, H, W]."""
        values = np.asarray(latents_BCHW, dtype=np.float64)
        batch, _, height, width = values.shape
        mean = values.mean(axis=(2, 3))
        squares = ((values - mean[:, :, None, None]) ** 2).sum(axis=(2, 3))
        return cls(np.full(batch, float(height * width)), mean, squares)

    @classmethod
    def together(cls, parts: Sequence[ImageMoments]) -> ImageMoments:
        """Those of all parts, in their order."""
        return cls(
            np.concatenate([part.pixels for part in parts]),
            np.concatenate([part.mean for part in parts]),
            np.concatenate([part.squared_deviations for part in parts]),
        )

    def of_images(self, images_N: NDArray[np.int64]) -> ImageMoments:
        """Moments of whole images, of which some have several of the N latents.

        Args:
            images_N: Number of the image of each latent.
        """
        numbers, image_N = np.unique(images_N, return_inverse=True)
        if len(numbers) == len(images_N):
            return self

        def summed(values_NC: Floats) -> Floats:
            totals = np.zeros((len(numbers), values_NC.shape[1]))
            np.add.at(totals, image_N, values_NC)
            return totals

        pixels_N1 = self.pixels[:, None]
        pixels_M1 = summed(pixels_N1)
        mean_MC = summed(self.mean * pixels_N1) / pixels_M1
        around_NC = self.squared_deviations + pixels_N1 * (self.mean - mean_MC[image_N]) ** 2
        return ImageMoments(pixels_M1[:, 0], mean_MC, summed(around_NC))


def standard_errors(
    sample: ImageMoments, total: ChannelMoments, population: int
) -> tuple[Floats, Floats]:
    """Standard errors of mean and std over pixels, from a random sample of whole images.

    Pixels of one image are alike, so images are what was drawn: both results are ratios of sums
    over images, with Taylor's linearised variance (Cochran, Sampling Techniques, 6.4 and 2.9)
    V(R) = (1 - n/N) n/(n-1) sum(e_i^2) / (sum pixels_i)^2, where e_i = y_i - R pixels_i. The std's
    follows from the variance's by the delta method.

    Args:
        sample: Of the n images.
        total: Of their pixels together.
        population: N, the images they were drawn from.

    Returns:
        Two arrays [C]; zeros when every image was measured.

    Raises:
        ValueError: Fewer than two images.
    """
    images = len(sample.pixels)
    if images < 2:
        msg = "a standard error needs two images"
        raise ValueError(msg)
    pixels_N1 = sample.pixels[:, None]
    off_NC = sample.mean - total.mean
    of_mean_NC = pixels_N1 * off_NC
    around_NC = sample.squared_deviations + pixels_N1 * off_NC**2
    of_variance_NC = around_NC - total.std**2 * pixels_N1
    share = max(0.0, 1 - images / population) * images / (images - 1) / total.pixels**2
    mean_C, variance_C = (
        np.sqrt(share * (e_NC**2).sum(axis=0)) for e_NC in (of_mean_NC, of_variance_NC)
    )
    return mean_C, variance_C / (2 * np.maximum(total.std, np.finfo(np.float64).tiny))
