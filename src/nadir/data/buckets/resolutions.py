"""Images at several resolutions: each at the lowest, and at every higher one that it fills.

An image that is smaller than its canvas gains nothing from being enlarged further, so only the
lowest resolution may enlarge it. Canvas lists, merging and crops are those of one resolution, made
for each by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nadir.data.buckets.assignment import FittedImages, bucket_sizes, fit_images

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.config.bucket import BucketParams


def fit_at_resolutions(manifest: pa.Table, params: BucketParams) -> FittedImages:
    """Fit the images of a manifest at every resolution of the parameters.

    Args:
        manifest: `MANIFEST` columns sha256, width, height, split, sorted by sha256.
        params: Bucket list, limits, merging, crop rule and resolutions.
    """
    if params.resolutions is None:
        return fit_images(manifest, params)
    known: set[tuple[int, int]] = set()
    fitted = []
    for area_px in params.resolutions:
        alone = params.at(area_px)
        # What two areas have in common belongs to the lower one, or an image had one canvas twice.
        fitted.append(fit_images(manifest, alone, without=known))
        known |= {*bucket_sizes(alone)}
    return _together(fitted)


def _together(fitted: Sequence[FittedImages]) -> FittedImages:
    """All canvases; left out is what none has, for the reason that the lowest one gives."""
    lowest = fitted[0]
    nowhere = np.logical_and.reduce([one.too_far | one.too_small for one in fitted])
    level = np.repeat(np.arange(len(fitted)), [one.table.num_rows for one in fitted])
    table = pa.concat_tables([one.table for one in fitted])
    table = table.append_column("level", pa.array(level))
    table = table.sort_by([("sha256", "ascending"), ("level", "ascending")]).drop_columns("level")
    uses = tuple(use for one in fitted for use in one.uses)
    return FittedImages(table, lowest.too_far & nowhere, lowest.too_small & nowhere, uses)
