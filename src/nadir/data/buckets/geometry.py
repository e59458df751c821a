"""Aspect-ratio buckets: the nearest one for an image, and how it is filled (§4.1).

Images go to the bucket whose aspect ratio is nearest in log space. Covering a bucket and cropping
the rest keeps exp(-|ln AR(image) - ln AR(bucket)|) of an image's area, so the nearest bucket is
also the one that keeps most (paper §4.1, footnote 2). Aspect ratio (AR) is width over height; all
sizes are pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]


def log_aspect(widths: Integers, heights: Integers) -> Floats:
    """Natural logarithm of each aspect ratio; 0 is square, positive is wide."""
    return np.log(widths / heights)


def assign(
    widths: Integers, heights: Integers, buckets: Sequence[tuple[int, int]] | Integers
) -> Integers:
    """Index into `buckets` of each image's nearest bucket in log aspect ratio.

    Args:
        widths: [N] of the images.
        heights: [N] of the images.
        buckets: [M] (width, height) with distinct aspect ratios, in any order.
    """
    bucket_width, bucket_height = np.asarray(buckets, dtype=np.int64).T
    log_bucket = log_aspect(bucket_width, bucket_height)
    order = np.argsort(log_bucket, kind="stable")
    midpoints = (log_bucket[order][1:] + log_bucket[order][:-1]) / 2
    return order[np.searchsorted(midpoints, log_aspect(widths, heights))].astype(np.int64)


def cover_sizes(
    widths: Integers, heights: Integers, bucket_sizes: Integers
) -> tuple[Integers, Integers]:
    """Widths and heights, [N] each, that cover the buckets and touch them on one axis.

    The other axis is rounded half up in integers, so no machine's floats can change it.

    Args:
        widths: [N] of the images.
        heights: [N] of the images.
        bucket_sizes: [N, 2] width and height of each image's bucket.
    """
    bucket_width, bucket_height = bucket_sizes.T
    is_wider = widths * bucket_height >= heights * bucket_width
    by_height = (2 * widths * bucket_height + heights) // (2 * heights)
    by_width = (2 * heights * bucket_width + widths) // (2 * widths)
    resize_width = np.where(is_wider, by_height, bucket_width)
    return resize_width, np.where(is_wider, bucket_height, by_width)


def retained_area(widths: Integers, heights: Integers, bucket_sizes: Integers) -> Floats:
    """Share (0 to 1] of each image's area that stays visible: exp(-|Δ ln AR|), as a fraction.

    Args:
        widths: [N] of the images.
        heights: [N] of the images.
        bucket_sizes: [N, 2] width and height of each image's bucket.
    """
    across, down = widths * bucket_sizes[:, 1], heights * bucket_sizes[:, 0]
    return np.asarray(np.minimum(across, down) / np.maximum(across, down), dtype=np.float64)


def fit_image(image: Image.Image, row: Mapping[str, int]) -> Image.Image:
    """Resize (Lanczos) and crop an image as its row of the `BUCKETS` table says.

    Args:
        image: Decoded image, EXIF orientation applied.
        row: resize_width, resize_height, crop_left, crop_top, bucket_width, bucket_height.

    Returns:
        An image of exactly the bucket's size.
    """
    left, top = int(row["crop_left"]), int(row["crop_top"])
    size = (int(row["resize_width"]), int(row["resize_height"]))
    if image.size != size:
        image = image.resize(size, Image.Resampling.LANCZOS)
    return image.crop((left, top, left + int(row["bucket_width"]), top + int(row["bucket_height"])))
