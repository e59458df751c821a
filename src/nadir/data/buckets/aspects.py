"""How aspect ratios spread over the images of a booru, as far as it is public.

Twenty centroids, found by k-means over the ratios of a booru's images (Birch-san,
aspect-ratio-bucketer), read as the middles of twenty equal shares; between them the logarithm is
linear, and the outer halves stay at the outer centroids. It is a mix to plan and measure with, not
the mix of any one dataset.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

CENTROIDS: tuple[float, ...] = (
    0.1667, 0.3437, 0.4678, 0.5460, 0.5898, 0.6272, 0.6607, 0.6840, 0.7076, 0.7260,
    0.7501, 0.7770, 0.8077, 0.8559, 0.9214, 1.0063, 1.1539, 1.3158, 1.4622, 1.8635,
)  # fmt: skip
"""Width over height."""


def aspect_quantile(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log aspect ratio below which each share (0 to 1) of the images lies."""
    middles = (np.arange(len(CENTROIDS)) + 0.5) / len(CENTROIDS)
    return np.interp(shares, middles, np.log(CENTROIDS))
