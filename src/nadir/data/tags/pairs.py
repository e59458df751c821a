"""Which of the most used tags go together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.data.tags.codes import TagUses

    Integers = NDArray[np.int64]

# Counts of a piece are summed in float32, which is exact up to 2^24 images.
_IMAGES_AT_ONCE = 20_000


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
    """[K, K] images that carry both tags; the diagonal is those that carry one."""
    place = np.full(tags, -1, np.int64)
    place[top] = np.arange(len(top))
    total = np.zeros((len(top), len(top)), np.int64)
    for piece in uses.pieces(_IMAGES_AT_ONCE):
        column = place[piece.rows]
        carries = np.zeros((len(piece), len(top)), np.float32)
        carries[piece.images()[column >= 0], column[column >= 0]] = 1
        # (C^T C)_ab = sum over images of C_ia C_ib, with C_ia 1 where image i carries a.
        total += (carries.T @ carries).astype(np.int64)
    return total
