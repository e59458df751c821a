"""Clipping: what is burnt to full black or full white."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Gap, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.values import Drawn

# Half a step of an 8-bit image: what becomes 0 or 255.
_HALF_STEP = 0.5 / 255


def clip_fraction(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of channel values at the end of the range [N] (0-1)."""
    clipped = (images_NCHW <= _HALF_STEP) | (images_NCHW >= 1 - _HALF_STEP)
    share: NDArray[np.float64] = clipped.mean(axis=(1, 2, 3), dtype=np.float64)
    return share


class ClipFraction(Metric):
    """The value of each image; only its gap to real images is good or bad."""

    name = "clip_fraction"
    title = "Clipping"
    unit = "share of values, 0 to 1"
    direction = "target"
    meaning = "Share of colour values at full black or full white."

    def see(self, drawn: Drawn) -> NDArray[np.float64]:
        """Clipped share of each image."""
        return clip_fraction(drawn.images_NCHW)


class ClipGap(Gap):
    """Clipping beyond that of real images."""

    name = "clip_gap"
    title = "Clipping gap"
    unit = "difference of shares, -1 to 1"
    meaning = (
        "Share of colour values at full black or full white, minus that of real ones. Above 0 "
        "is burnt."
    )
    value = staticmethod(clip_fraction)
