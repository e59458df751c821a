"""What names of tags stand for, as rows of a `TAGS` table, for many images at once."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Counts = NDArray[Any]
    Rows = NDArray[np.int32]

# Less stays in the processor's cache, more spreads what each product begins with.
_USES_AT_ONCE = 1 << 18


class Meanings:
    """The row of each of P names, and the rows that aliases and implications bring with it.

    Which names images have, times which rows names stand for, is which rows the images have: a
    product of two sparse matrices of booleans, in which a row that comes twice is there once.

    Args:
        own: [P] row of the name itself, -1 where it has none.
        brought: [P] rows besides; empty where there are no rules.
    """

    def __init__(self, own: Rows, brought: Sequence[Sequence[int]]) -> None:
        self._names, self._brings = len(own), any(brought)
        counts, rows = (own >= 0).astype(np.int64), own[own >= 0]
        if self._brings:
            # Each name once more, for what it brings: an image's own rows are to come first.
            more = np.fromiter(chain.from_iterable(brought), np.int32)
            counts = np.concatenate([counts, [len(found) for found in brought]])
            rows = np.concatenate([rows, more])
        self._table = _matrix(counts, rows, int(rows.max(initial=-1)) + 1)

    def rows(self, lengths: Counts, places: Rows) -> tuple[Counts, Rows]:
        """What some images carry: an image's own rows, then what they bring, each row once.

        May be called by several threads at once.

        Args:
            lengths: [N] how many names each image has.
            places: [U] those names, 0 to P - 1.

        Returns:
            [N] how many rows each image has, and these rows.
        """
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        counts, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for start, end in _pieces(ends):
            piece = self._piece(lengths[start:end], places[ends[start] : ends[end]])
            counts.append(piece[0])
            found.append(piece[1])
        return np.concatenate(counts), np.concatenate(found)

    def _piece(self, lengths: Counts, places: Rows) -> tuple[Counts, Rows]:
        if self._brings:
            lengths, places = self._twice(lengths, places)
        carried = _matrix(lengths, places, self._table.shape[0]) @ self._table
        starts, ends = carried.indptr[:-1], carried.indptr[1:]
        counts = ends - starts
        # SciPy lists a row's columns from the last that it met to the first.
        backwards = np.repeat(starts + ends - 1, counts) - np.arange(carried.nnz, dtype=np.int32)
        return counts, carried.indices[backwards]

    def _twice(self, lengths: Counts, places: Rows) -> tuple[Counts, Rows]:
        """Each image's names by themselves, then the same names for what they bring."""
        both = np.empty(2 * len(places), np.int32)
        starts = np.cumsum(lengths, dtype=np.int32) - lengths.astype(np.int32)
        at = np.arange(len(places), dtype=np.int32) + np.repeat(starts, lengths)
        both[at] = places
        both[at + np.repeat(lengths.astype(np.int32), lengths)] = places + np.int32(self._names)
        return 2 * lengths, both


def _pieces(ends: Counts) -> Iterator[tuple[int, int]]:
    """First image and the one behind the last of pieces of about as many uses."""
    start, images = 0, len(ends) - 1
    while start < images:
        wanted = int(np.searchsorted(ends, ends[start] + _USES_AT_ONCE))
        end = min(max(wanted, start + 1), images)
        yield start, end
        start = end


def _matrix(counts: Counts, columns: Rows, width: int) -> Any:
    """A sparse matrix that is true at so many columns of each row."""
    # Within a stage's process, SciPy is away while others load (`nadir.compute.lean_start`).
    from scipy.sparse import csr_array

    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    values = np.ones(len(columns), np.bool_)
    return csr_array((values, columns, ends), shape=(len(counts), width))
