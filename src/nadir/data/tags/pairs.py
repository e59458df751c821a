"""Which of the most used tags go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nadir.compute.cores import on_all_cores

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.data.tags.codes import TagUses

    Integers = NDArray[np.int64]

_IMAGES_AT_ONCE = 1 << 16


def tag_pairs(uses: TagUses, tags: pa.Table, top: Integers) -> pa.Table:
    """A `TAG_PAIRS` table of some tags; each pair once, the tag of higher rank first.

    Args:
        uses: The images' tags, rows of `tags`.
        tags: Columns tag and count.
        top: Rows of the tags to pair, by rank.
    """
    together = _together(uses, top, tags.num_rows)
    first, second = np.nonzero(np.triu(together, 1))
    alone, both = np.diag(together), together[first, second]
    # Lift is P(a, b) / (P(a) P(b)) = n_ab N / (n_a n_b): 1 where two tags are independent.
    expected = alone[first] * alone[second] / max(len(uses), 1)
    names = tags["tag"].take(pa.array(top))
    return pa.table(
        {
            "tag": names.take(pa.array(first)),
            "other": names.take(pa.array(second)),
            "count": both,
            "lift": both / expected,
        }
    )


def _together(uses: TagUses, top: Integers, tags: int) -> Integers:
    """[K, K] images that carry both tags, upper half; the diagonal is those that carry one."""
    place = np.full(tags, -1, np.int32)
    place[top] = np.arange(len(top))
    total = np.zeros((len(top), len(top)), np.int64)
    pieces = uses.pieces(_IMAGES_AT_ONCE)
    for found in on_all_cores(lambda piece: _counted(piece, place, len(top)), pieces):
        total += found
    return total


def _counted(piece: TagUses, place: NDArray[np.int32], size: int) -> Integers:
    """The same of some images: each tag is a row of bits, one an image; common ones are counted.

    A matrix product of the same zeros and ones takes ten times as long.
    """
    column = place[piece.rows]
    image = np.repeat(np.arange(len(piece), dtype=np.int32), np.diff(piece.starts))
    known = column >= 0
    carries = np.zeros((size, -len(piece) // 64 * -64), bool)
    carries[column[known], image[known]] = True
    bits = np.packbits(carries, axis=1).view(np.uint64)
    together = np.zeros((size, size), np.int64)
    for row in range(size):
        together[row, row:] = np.bitwise_count(bits[row] & bits[row:]).sum(axis=1)
    return together
