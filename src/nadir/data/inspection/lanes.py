"""Pixels with transparency seen from afar: flattened, and their means by block.

Values lie as 16-bit numbers side by side, so that NumPy computes with many at a time. What comes
out is what Pillow's `paste` under a mask and `reduce` give, to the bit, in two thirds of the time.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

if TYPE_CHECKING:
    Words = np.ndarray[tuple[int, ...], np.dtype[np.integer[Any]]]

_TWO_OF_FOUR = 0x00FF00FF
_BOTH = 0x00010001
_HIGHEST_SUM = 0xFFFF // 255  # of so many bytes fits 16 bits


def mean_colours(
    words: Words,
    width: int,
    background: tuple[int, int, int],
    by: tuple[int, int],
    *,
    clear: bool,
) -> Image.Image:
    """Pixels flattened on `background` (0 to 255), then reduced; RGB.

    Args:
        words: Pixels as Pillow holds RGBA and RGBX, four bytes each [rows * width].
        width: Pixels of a row.
        background: RGB.
        by: Pixels (across, down) that become one.
        clear: Whether the fourth bytes are opacity.
    """
    values = _lanes(words)
    if clear and np.bitwise_and.reduce(words) >> 24 < 255:
        alpha = words >> 24
        alpha *= _BOTH
        _flatten(values, alpha.view("<u2"), _levels(background, words.size))
    height = words.size // width
    sums = _column_sums(values.reshape(2, height, 2 * width), by[1])
    parted = sums.reshape(2, -1, width, 2).transpose(0, 3, 1, 2)
    means = _means(np.ascontiguousarray(parted), (width, height), *by)
    return Image.fromarray(np.stack([means[0, 0], means[1, 0], means[0, 1]], axis=-1))


def _lanes(words: Words) -> Words:
    """Red and blue of each pixel in turn, then green and alpha: [N] to [2, 2 N]."""
    lanes = np.empty((2, words.size), "<u4")
    np.bitwise_and(words, _TWO_OF_FOUR, out=lanes[0])
    np.right_shift(words, 8, out=lanes[1])
    lanes[1] &= _TWO_OF_FOUR
    return lanes.view("<u2")


def _levels(background: tuple[int, int, int], pixels: int) -> int | Words:
    """A background as `_lanes` lays pixels out; one number for grey."""
    red, green, blue = background
    if red == green == blue:
        return red
    return np.tile(np.array([[red, blue], [green, 0]], "<u2"), pixels)


def mean_greys(
    words: Words, width: int, background: tuple[int, int, int], by: tuple[int, int]
) -> Image.Image:
    """As `mean_colours`, of grey with alpha: Pillow holds LA as RGBA of one grey three times."""
    alpha = (words >> 24).astype("<u2")
    grey = words.astype("<u2")
    grey &= 0xFF
    levels = sorted(set(background))
    values = np.stack([grey] * len(levels)) if len(levels) > 1 else grey[None]
    for flat, level in zip(values, levels, strict=True):
        _flatten(flat, alpha, level)
    height = words.size // width
    sums = _column_sums(values.reshape(-1, height, width), by[1])
    means = _means(sums, (width, height), *by)
    return Image.fromarray(np.stack([means[levels.index(level)] for level in background], axis=-1))


def _flatten(values: Words, alpha: Words, level: int | Words) -> None:
    """(value * alpha + level * (255 - alpha)) / 255, rounded, in place."""
    # The true value lies between 127 and 65,152, so what wraps on the way wraps back.
    values -= level
    values *= alpha
    values += 255 * level + 127
    np.floor_divide(values, 255, out=values)


def _column_sums(values: Words, down: int) -> Words:
    """Of `down` rows each, the last of what is left: [parts, rows, columns] to [parts, n, columns].

    Adding whole rows first is what makes it quick.
    """
    parts, rows, columns = values.shape
    kind = np.uint16 if down <= _HIGHEST_SUM else np.uint32
    whole = rows // down * down
    blocks = values[:, :whole].reshape(parts, -1, down, columns)
    sums: Words = np.add.reduce(blocks, axis=2, dtype=kind)
    if whole == rows:
        return sums
    rest = np.add.reduce(values[:, whole:], axis=1, dtype=kind, keepdims=True)
    return np.concatenate([sums, rest], axis=1)


def _means(sums: Words, size: tuple[int, int], across: int, down: int) -> Words:
    """The means of blocks, rounded as `Image.reduce` does: [..., n, columns] to [..., n, m]."""
    starts, halves, inverses = _blocks(size, across, down)
    totals = np.add.reduceat(sums, starts, axis=-1, dtype=np.uint32)
    totals += halves
    totals *= inverses
    return (totals >> 24).astype(np.uint8)


# All strips of an image but the last are of one size.
@functools.lru_cache(maxsize=64)
def _blocks(size: tuple[int, int], across: int, down: int) -> tuple[Words, Words, Words]:
    """First column of each block; half its area, and 2^24 by its area [n, m]."""
    starts = [np.arange(0, length, step) for length, step in zip(size, (across, down), strict=True)]
    sides = [np.diff(edges, append=length) for edges, length in zip(starts, size, strict=True)]
    areas = np.outer(sides[1], sides[0]).astype(np.uint32)
    # Pillow multiplies by a fixed-point inverse, which it finds in single precision.
    inverses = (np.float32(2**24) / areas.astype(np.float32)).astype(np.uint32)
    return starts[0], areas // 2, inverses
