"""Rows of large tables: taken and put in another order, and which hold a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 100_000
_Number = TypeVar("_Number", bound=np.generic)


def take_rows(table: pa.Table, rows: NDArray[np.integer[Any]]) -> pa.Table:
    """What `table.take` gives, for tables of any size.

    `Table.take` joins each column into one array first, and 2 GiB of text do not fit into one:
    the tags of four million images are more.

    Args:
        table: Any columns.
        rows: [N] which rows; a negative one gives nulls.

    Returns:
        N rows, in chunks of 100,000.
    """
    batches = table.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
    starts = np.cumsum([0, *(len(batch) for batch in batches[:-1])])
    wanted = rows.astype(np.int64)  # unsigned numbers less signed ones would be floats
    pieces = [
        _take(batches, starts, wanted[start : start + _AT_ONCE])
        for start in range(0, len(rows), _AT_ONCE)
    ]
    return pa.concat_tables(pieces) if pieces else table.slice(0, 0)


def _take(
    batches: list[pa.RecordBatch], starts: NDArray[np.int64], rows: NDArray[np.int64]
) -> pa.Table:
    batch_of = np.searchsorted(starts, np.maximum(rows, 0), side="right") - 1
    order = np.argsort(batch_of, kind="stable")
    bounds = np.searchsorted(batch_of[order], np.arange(len(batches) + 1))
    parts = []
    for number in np.unique(batch_of).tolist():
        places = order[bounds[number] : bounds[number + 1]]
        within = pa.array(rows[places] - starts[number], mask=rows[places] < 0)
        parts.append(batches[number].take(within))
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.Table.from_batches(parts).combine_chunks().take(pa.array(back))


def valid(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """Which rows of a column hold a value."""
    return np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)


def mask(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    """A column of truth values; null is false."""
    return np.asarray(pc.fill_null(column, False).to_numpy(), dtype=np.bool_)


def texts_of(column: pa.ChunkedArray, rows: NDArray[np.int64]) -> NDArray[np.object_]:
    """The texts of some rows, [N]; null is empty."""
    taken = take_rows(pa.table({"text": column}), rows).column(0)
    return np.array(taken.fill_null("").to_pylist(), dtype=object)


def texts_at(column: pa.ChunkedArray, where: NDArray[np.bool_]) -> dict[int, str]:
    """The texts of those rows where `where` holds, by row; null is empty."""
    rows = np.flatnonzero(where)
    return dict(zip(rows.tolist(), texts_of(column, rows).tolist(), strict=True))


def distinct(values: NDArray[_Number]) -> NDArray[_Number]:
    """The different values of an array [N] of numbers, in order.

    `np.unique` without counts goes by hashing since NumPy 2.3, which takes 30 to 100 times as long
    where most values differ (`findings/numpy_unique_of_many_keys.sh`).
    """
    ordered = np.sort(values)
    first = np.ones(len(ordered), np.bool_)
    first[1:] = ordered[1:] != ordered[:-1]
    return ordered[first]


def sorting_order(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """What `np.argsort(words, kind="stable")` gives, three times as fast.

    For numbers that mostly differ in their first bits, such as hashes: these are sorted with the
    place of each in its last bits, and whole numbers only where they are equal.
    """
    bits = np.uint64(len(words).bit_length())
    packed = np.sort(words >> bits << bits | np.arange(len(words), dtype=np.uint64))
    order = (packed & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
    packed >>= bits
    again = np.flatnonzero(packed[1:] == packed[:-1]) + 1
    if len(again):
        alike = np.zeros(len(words), dtype=bool)
        alike[again] = alike[again - 1] = True
        places = np.flatnonzero(alike)
        order[places] = order[places][np.argsort(words[order[places]], kind="stable")]
    return order


def sorted_by_text(
    column: pa.ChunkedArray, rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows by their text, those of equal texts in the given order.

    For texts that mostly differ in their first bytes, such as hashes: those are sorted as numbers,
    which is ten times as fast, and whole texts only where they are equal.

    Args:
        column: Texts; null is empty.
        rows: [N] which of them.

    Returns:
        The rows in order [N], and the places in it where a text may equal the one before.
    """
    words = _first_bytes(column)[rows]
    order = sorting_order(words)
    words, rows = words[order], rows[order]
    alike = np.flatnonzero(words[1:] == words[:-1]) + 1
    if len(alike):
        places = np.union1d(alike, alike - 1)
        texts = take_rows(pa.table({"text": column}), rows[places]).column(0).fill_null("")
        # Within the places of equal numbers alone something moves.
        rows[places] = rows[places][pc.sort_indices(texts).to_numpy()]
    return rows, alike


def _first_bytes(column: pa.ChunkedArray) -> NDArray[np.uint64]:
    """The first eight bytes of each text as a number in the order of the texts."""
    words = [np.zeros(0, np.uint64)]
    for chunk in column.chunks:
        starts = range(0, len(chunk), _AT_ONCE)
        words += [_words(chunk.slice(start, _AT_ONCE)) for start in starts]
    return np.concatenate(words)


def _words(texts: pa.StringArray) -> NDArray[np.uint64]:
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    # Eight bytes more, so that a short text at the end has some, too; they are not looked at.
    given = np.frombuffer(data or b"", np.uint8)[bounds[0] : bounds[-1]]
    given = np.append(given, np.zeros(8, np.uint8))
    places = (bounds[:-1] - bounds[0])[:, None] + np.arange(8)
    within = np.arange(8) < np.diff(bounds)[:, None]
    return np.ascontiguousarray(given[places] * within).view(">u8").ravel().astype(np.uint64)
