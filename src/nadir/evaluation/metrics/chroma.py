"""Colourfulness: strong guidance oversaturates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Gap, Metric

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.values import Drawn


def chroma(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over pixels of max minus min channel [N] (0-1).

    HSV saturation is avoided: on dark pixels it turns faint noise into full colour.
    """
    spread: NDArray[np.float64] = (images_NCHW.max(axis=1) - images_NCHW.min(axis=1)).mean(
        axis=(1, 2), dtype=np.float64
    )
    return spread


class Chroma(Metric):
    """The value of each image; only its gap to real images is good or bad."""

    name = "chroma"
    title = "Chroma"
    unit = "0 grey to 1 pure colours"
    direction = "target"
    meaning = "Colourfulness: mean over pixels of the largest minus the smallest channel."

    def see(self, drawn: Drawn) -> NDArray[np.float64]:
        """Chroma of each image."""
        return chroma(drawn.images_NCHW)


class ChromaGap(Gap):
    """Chroma beyond that of real images."""

    name = "chroma_gap"
    title = "Chroma gap"
    unit = "difference of chroma, -1 to 1"
    meaning = (
        "Colourfulness minus that of held-out images with the same captions. Above 0 is "
        "oversaturated, the usual price of strong guidance."
    )
    value = staticmethod(chroma)
