"""How power is spread over spatial frequencies: blur and noise show here first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.metrics.brightness import luminance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.values import Drawn, ScaleValues

BINS = 12
# Below this an image is flat (power of a tenth of an 8-bit step); the floor keeps the log finite.
_FLOOR = (0.1 / 255) ** 2
_LOWEST_FREQUENCY = 1 / 32  # cycles per pixel: below it a small image has no samples


def log_power(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """log10 power of luminance by radial frequency [N, BINS].

    The bins run from 1/32 to 1/2 cycles per pixel in equal ratios. A Hann window keeps the image's
    edges from looking like detail, and dividing by its energy makes sizes comparable.
    """
    values_NHW = luminance(images_NCHW).astype(np.float64)
    height, width = values_NHW.shape[1:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    centred = values_NHW - values_NHW.mean(axis=(1, 2), keepdims=True)
    power_NHW = np.abs(np.fft.fft2(centred * window)) ** 2 / (window**2).sum()
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None, :])
    edges = np.geomspace(_LOWEST_FREQUENCY, 0.5, BINS + 1)
    bins = np.digitize(radius.ravel(), edges) - 1
    flat = power_NHW.reshape(len(power_NHW), -1)
    means = [_mean_or_nan(flat[:, bins == index]) for index in range(BINS)]
    return np.log10(np.stack(means, axis=1) + _FLOOR)


def spectrum_distance(
    generated_NB: NDArray[np.float64], reference_NB: NDArray[np.float64]
) -> float:
    """RMS over frequencies of the difference in mean log power, in decades (factors of ten)."""
    difference = generated_NB.mean(axis=0) - reference_NB.mean(axis=0)
    return float(np.sqrt(np.nanmean(difference**2)))


def _mean_or_nan(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.shape[1] == 0:  # a small image has no sample in a narrow low bin
        return np.full(len(values), np.nan)
    mean: NDArray[np.float64] = values.mean(axis=1)
    return mean


class SpectrumDistance(Metric):
    """Distance of the spectrum of a set of images from that of the real images behind them."""

    name = "spectrum_distance"
    title = "Spectrum distance"
    unit = "decades"
    direction = "lower"
    meaning = (
        "How far the spread of detail over fine and coarse scales is from real images, in factors "
        "of ten. Blur and speckle raise it; 0 is best."
    )
    needs = frozenset({"references"})

    def __init__(self) -> None:
        self._real: list[NDArray[np.float64]] = []
        self._drawn: dict[float, list[NDArray[np.float64]]] = {}

    def see_reference(self, prompt_id: str, image_CHW: NDArray[np.float32]) -> None:  # noqa: ARG002
        """Keep the spectrum of the real image."""
        self._real.append(log_power(image_CHW[None])[0])

    def see(self, drawn: Drawn) -> None:
        """Keep the spectra; one image alone has no distance worth a row."""
        self._drawn.setdefault(drawn.cfg_scale, []).extend(log_power(drawn.images_NCHW))

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """The distance of all images of the scale."""
        spectra = self._drawn.get(values.cfg_scale)
        if not spectra:
            return {}
        return {self.name: spectrum_distance(np.stack(spectra), np.stack(self._real))}
