"""What is measured on an image's pixels: how bright it is, and what it looks like.

from nadir.ground.luminance import REC709

Both are read off the 8 x 8 lowest frequencies of the image's luma, seen as 32 x 32 means by area.
Large images are reduced over whole pixels first (`reduction`), which is all that is ever done at
full size.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.ground.luminance import REC709

if TYPE_CHECKING:
    from PIL import Image

    Floats = np.ndarray[tuple[int, int], np.dtype[np.floating[Any]]]

SIDE = 32
"""Side of the picture whose frequencies are looked at."""

_LUMA = np.array(REC709, np.float32)
_LOW = 8
# Rows of the orthonormal DCT-II with the lowest frequencies.
_DCT = np.sqrt(2 / SIDE) * np.cos(
    np.pi / SIDE * np.arange(_LOW)[:, None] * (np.arange(SIDE)[None, :] + 0.5)
)
_DCT[0] /= np.sqrt(2)
# Coefficients count in hundredths; less is rounding, and a flat picture has nothing else.
_STEPS = 100
_SIGNS = (-1.0) ** np.arange(_LOW)
# EXIF orientation: sides swapped, then mirrored left to right, then upside down.
_TURNS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}


def reduction(width: int, height: int) -> tuple[int, int]:
    """Pixels (across, down) that become one before measuring; 32 or more are left of each side."""
    return max(1, width // SIDE), max(1, height // SIDE)


def frequencies(reduced: Image.Image, width: int, height: int) -> Floats:
    """The lowest frequencies of an RGB image's luma (0 to 255), orthonormal DCT-II [8, 8].

    Args:
        reduced: The image after `Image.reduce(reduction(width, height))`.
        width: Of the image before, pixels.
        height: Of the image before, pixels.
    """
    across, down = reduction(width, height)
    return np.asarray(_basis(height, down) @ luma(reduced) @ _basis(width, across).T)


def luma(image: Image.Image) -> Floats:
    """The luma of each pixel of an RGB image, 0 to 255 [height, width]."""
    pixels = np.frombuffer(image.tobytes(), np.uint8).reshape(-1, 3)
    return (pixels.astype(np.float32) @ _LUMA).reshape(image.height, image.width)


def turned(low: Floats, orientation: int) -> Floats:
    """The frequencies of the image after EXIF `orientation` (1 to 8) has been applied."""
    swapped, mirrored, upside_down = _TURNS.get(orientation, (False, False, False))
    low = low.T if swapped else low
    low = low * _SIGNS if mirrored else low
    return low * _SIGNS[:, None] if upside_down else low


def measure(low: Floats) -> tuple[float, str]:
    """Mean luminance (0 to 1) and perceptual hash of an image, from its `frequencies`.

    The hash has 64 bits, 16 hex digits: which frequencies lie above their median. Close pictures
    differ in few bits.
    """
    mean = min(max(float(low[0, 0]) / (255 * SIDE), 0.0), 1.0)
    # Methods and ufuncs only: called once for each image, numpy's Python wrappers cost more.
    values = np.rint(low.ravel() * _STEPS)
    ordered = values.copy()
    ordered.sort()
    # The median lies between the middle two.
    return mean, np.packbits(values + values > ordered[31] + ordered[32]).tobytes().hex()


def measure_image(image: Image.Image) -> tuple[float, str]:
    """`measure` of a whole RGB image."""
    reduced = image.reduce(reduction(*image.size))
    return measure(frequencies(reduced, *image.size))


@functools.lru_cache(maxsize=4096)
def _basis(length: int, step: int) -> Floats:
    """The lowest frequencies of a side, over its reduced pixels [8, reduced length]."""
    starts = np.arange(0, length, step)
    ends = np.minimum(starts + step, length)
    parts = np.arange(SIDE + 1) * (length / SIDE)
    overlap: Any = np.minimum(ends, parts[1:, None]) - np.maximum(starts, parts[:-1, None])
    areas = np.maximum(overlap, 0) * (SIDE / length)
    return np.asarray(_DCT @ areas, np.float32)
