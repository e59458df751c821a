"""Signs of too much guidance: colour, contrast and clipping beyond those of real images.

They rise with CFG, so they balance the scores that reward it. All are compared with the held-out
image that the prompt describes, seen through the same VAE, so a black background is no fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metrics.brightness import luminance

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Half a step of an 8-bit image: what becomes 0 or 255.
_HALF_STEP = 0.5 / 255


def chroma(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean over pixels of max minus min channel [N] (0-1).

    HSV saturation is avoided: on dark pixels it turns faint noise into full colour.
    """
    spread: NDArray[np.float64] = (images_NCHW.max(axis=1) - images_NCHW.min(axis=1)).mean(
        axis=(1, 2), dtype=np.float64
    )
    return spread


def clip_fraction(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of channel values at the end of the range [N] (0-1)."""
    clipped = (images_NCHW <= _HALF_STEP) | (images_NCHW >= 1 - _HALF_STEP)
    share: NDArray[np.float64] = clipped.mean(axis=(1, 2, 3), dtype=np.float64)
    return share


def contrast(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Standard deviation of luminance within each image [N]."""
    spread: NDArray[np.float64] = luminance(images_NCHW).std(axis=(1, 2), dtype=np.float64)
    return spread
