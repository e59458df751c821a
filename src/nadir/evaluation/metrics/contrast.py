"""Contrast: strong guidance makes images harsh."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Gap, Metric
from nadir.evaluation.metrics.brightness import luminance

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.values import Drawn


def contrast(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviation of luminance within each image [N]."""
    spread: NDArray[np.float64] = luminance(images_NCHW).std(axis=(1, 2), dtype=np.float64)
    return spread


class Contrast(Metric):
    """The value of each image; only its gap to real images is good or bad."""

    name = "contrast"
    title = "Contrast"
    unit = "standard deviation of luminance, 0 to 0.5"
    direction = "target"
    meaning = "Spread of light and dark within an image."

    def see(self, drawn: Drawn) -> NDArray[np.float64]:
        """Contrast of each image."""
        return contrast(drawn.images_NCHW)


class ContrastGap(Gap):
    """Contrast beyond that of real images."""

    name = "contrast_gap"
    title = "Contrast gap"
    unit = "difference of standard deviations, -0.5 to 0.5"
    meaning = (
        "Spread of light and dark within an image, minus that of real ones. Above 0 is harsh, "
        "below 0 is flat."
    )
    value = staticmethod(contrast)
