"""Pixels that are exactly white or black: where nothing can be seen any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Gap

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Half a step of an 8-bit image: what becomes 0 or 255.
_HALF_STEP = 0.5 / 255


def extreme_share(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Share of pixels with all three channels at 0, or all at 255 [N] (0-1)."""
    black = (images_NCHW <= _HALF_STEP).all(axis=1)
    white = (images_NCHW >= 1 - _HALF_STEP).all(axis=1)
    share: NDArray[np.float64] = (black | white).mean(axis=(1, 2), dtype=np.float64)
    return share


class ExtremeGap(Gap):
    """Exactly white or black pixels beyond those of real images.

    64 images show what oversaturation of a fifth adds; pulling to grey takes 256.
    """

    name = "extreme_gap"
    title = "White and black gap"
    unit = "difference of shares, -1 to 1"
    meaning = (
        "Share of pixels that are exactly white or black, minus that of held-out images with the "
        "same captions. Above 0 is burnt, below 0 is a model that cannot reach the ends."
    )
    value = staticmethod(extreme_share)
