"""Fine detail against real images; a spectrum has no value of each image, and a guard needs one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.metric import Gap
from nadir.evaluation.metrics.spectrum import BINS, log_power

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_FINE = BINS // 3


def fine_detail(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """log10 power of luminance from 0.2 to 0.5 cycles a pixel [N]."""
    found: NDArray[np.float64] = log_power(images_NCHW)[:, -_FINE:].mean(axis=1)
    return found


class DetailGap(Gap):
    """Power of fine detail minus that of the real image behind the prompt."""

    name = "detail_gap"
    title = "Fine detail gap"
    unit = "decades"
    meaning = (
        "How much more fine detail than in real images, in factors of ten of power. Below 0 "
        "pictures are blurred, above it speckled; 0 is best."
    )
    value = staticmethod(fine_detail)
