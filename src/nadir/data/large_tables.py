"""Rows of large tables: taken in another order, and which hold a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from numpy.typing import NDArray

_AT_ONCE = 100_000


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
