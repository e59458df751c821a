"""What names of tags stand for, as rows of a `TAGS` table, for many images at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    Counts = NDArray[Any]
    Rows = NDArray[np.int32]

# So much stays in the processor's cache, which halves the time.
_USES_AT_ONCE = 1 << 16
_CELLS_AT_ONCE = 1 << 21


class Meanings:
    """The row of each of P names, and the rows that aliases and implications bring with it.

    Args:
        own: [P] row of the name itself, -1 where it has none.
        brought: [P] rows besides; empty where there are no rules.
    """

    def __init__(self, own: Rows, brought: Sequence[Sequence[int]]) -> None:
        self._own = own
        rows = [row for found in brought for row in found]
        self._brought = np.array(rows, np.int32)
        self._counts = np.array([len(found) for found in brought] or [0] * len(own), np.int32)
        self._firsts = np.cumsum(self._counts, dtype=np.int32) - self._counts
        # Rows that may come twice, each with its column; behind the end is row -1.
        targets, columns = np.unique(self._brought, return_inverse=True)
        self._targets, self._columns = len(targets), columns.astype(np.int32)
        self._size = int(max(own.max(initial=-1), self._brought.max(initial=-1))) + 1
        self._column = np.full(self._size + 1, -1, np.int32)
        self._column[targets] = np.arange(len(targets))

    def rows(self, lengths: Counts, places: Rows) -> tuple[Counts, Rows]:
        """What some images carry: an image's own rows, then what they bring, each row once.

        May be called by several threads at once.

        Args:
            lengths: [N] how many names each image has.
            places: [U] those names, 0 to P - 1.

        Returns:
            [N] how many rows each image has, and these rows.
        """
        seen = np.empty(_CELLS_AT_ONCE if self._targets else 0, np.int32)
        ends = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])
        counts, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        for start, end in self._pieces(ends):
            piece = self._piece(lengths[start:end], places[ends[start] : ends[end]], seen)
            counts.append(piece[0])
            found.append(piece[1])
        return np.concatenate(counts), np.concatenate(found)

    def _pieces(self, ends: Counts) -> Iterator[tuple[int, int]]:
        """First image and the one behind the last of pieces of about the same work."""
        most = max(_CELLS_AT_ONCE // max(self._targets, 1), 1)
        start, images = 0, len(ends) - 1
        while start < images:
            wanted = np.searchsorted(ends, ends[start] + _USES_AT_ONCE)
            end = min(max(int(wanted), start + 1), start + most, images)
            yield start, end
            start = end

    def _piece(self, lengths: Counts, places: Rows, seen: Rows) -> tuple[Counts, Rows]:
        image = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        own = self._own[places]
        kept = _first_uses(image, own, self._size)
        if not self._targets:
            image, own = (image, own) if kept is None else (image[kept], own[kept])
            return np.bincount(image, minlength=len(lengths)), own
        more = self._new(image, places, own, _seen_for(seen, len(lengths) * self._targets))
        if kept is not None:
            image, own = image[kept], own[kept]
        return _merged((image, own), more, len(lengths))

    def _new(self, image: Rows, places: Rows, own: Rows, seen: Rows) -> tuple[Rows, Rows]:
        """(image, row) of what names bring that the image has not itself, each once."""
        counts = self._counts[places]
        bringing = np.flatnonzero(counts)
        at, cells = self._spread(places[bringing], image[bringing], counts[bringing])
        order = np.arange(len(at), dtype=np.int32)
        # The last one written stays, which is the first one of each cell; -1 is of a name itself.
        seen[cells[::-1]] = order[::-1]
        column = self._column[own]
        known = np.flatnonzero(column >= 0)
        seen[image[known] * np.int32(self._targets) + column[known]] = -1
        new = seen[cells] == order
        return cells[new] // np.int32(self._targets), self._brought[at[new]]

    def _spread(self, places: Rows, image: Rows, counts: Rows) -> tuple[Rows, Rows]:
        """Of each row that names bring: where it stands in `_brought`, and its cell.

        A running sum over the changes between lists takes half as long as `np.repeat`.
        """
        starts = np.cumsum(counts, dtype=np.int64) - counts
        total = int(counts.sum())
        firsts = self._firsts[places]
        ahead, across = np.ones(total, np.int32), np.zeros(total, np.int32)
        ahead[starts] = firsts
        ahead[starts[1:]] -= firsts[:-1] + counts[:-1] - 1
        across[starts] = np.diff(image, prepend=np.int32(0)) * np.int32(self._targets)
        at = np.cumsum(ahead, dtype=np.int32)
        cells = np.cumsum(across, dtype=np.int32)
        cells += self._columns[at]
        return at, cells


def _seen_for(seen: Rows, cells: int) -> Rows:
    """Room for so many cells; one image may have more than there is for a piece."""
    return seen if cells <= len(seen) else np.empty(cells, np.int32)


def _merged(own: tuple[Rows, Rows], more: tuple[Rows, Rows], images: int) -> tuple[Counts, Rows]:
    """How many rows each image has, and the rows; both sides are (image, row), by image."""
    own_counts, more_counts = (np.bincount(side[0], minlength=images) for side in (own, more))
    merged = np.empty(len(own[0]) + len(more[0]), np.int32)
    # A row moves by what the other side has before it.
    merged[np.arange(len(own[0])) + (np.cumsum(more_counts) - more_counts)[own[0]]] = own[1]
    merged[np.arange(len(more[0])) + np.cumsum(own_counts)[more[0]]] = more[1]
    return own_counts + more_counts, merged


def _first_uses(image: Rows, rows: Rows, size: int) -> Counts | None:
    """Places of rows from 0 to size - 1 that are an image's first of a kind; None if all are."""
    known = np.flatnonzero(rows >= 0)
    every = len(known) == len(rows)
    if not every:
        image, rows = image[known], rows[known]
    # Half the bytes sort in half the time.
    small = not len(image) or (int(image[-1]) + 1) * size < 1 << 32
    keys: NDArray[Any] = image.astype(np.uint32 if small else np.int64) * size
    keys += rows.astype(keys.dtype)
    ordered = np.sort(keys)
    if not np.any(ordered[1:] == ordered[:-1]):
        return None if every else known
    _, first = np.unique(keys, return_index=True)
    return known[np.sort(first)]
