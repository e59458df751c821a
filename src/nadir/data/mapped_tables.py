"""Tables that lie on disk: their rows take memory while they are read, and give it back.

The files have no name, so nothing is left of them when the process ends, however it ends.
"""

from __future__ import annotations

import mmap
import tempfile
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nadir.data.large_tables import take_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_PLACE = "__place"


class RowsOnDisk:
    """Rows that are written one table after another, and then mapped.

    Args:
        schema: Of the rows.
        folder: Where there is room for them; it is there.
    """

    def __init__(self, schema: pa.Schema, folder: Path) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `read`
        self._writer = pa.ipc.new_file(self._file, schema)

    def add(self, rows: pa.Table | pa.RecordBatch) -> None:
        """Write more rows."""
        self._writer.write(rows)

    def read(self) -> pa.Table:
        """All rows, mapped; none can be added any more."""
        self._writer.close()
        self._file.flush()
        with self._file as file:
            whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return pa.ipc.open_file(pa.BufferReader(pa.py_buffer(whole))).read_all()


def in_order(
    table: pa.Table, rows: NDArray[np.int64], *, at_once: int, folder: Path
) -> Iterator[pa.Table]:
    """What `take_rows(table, rows)` gives, `at_once` rows at a time.

    The table is read once from its beginning to its end, whatever the order of the rows: those that
    are given out together first go to one file.

    Args:
        table: Any columns, in batches.
        rows: [N] which rows, each once.
        at_once: Rows that are held in memory together.
        folder: For the files.
    """
    places = np.full(table.num_rows, -1, np.int64)
    places[rows] = np.arange(len(rows))
    table = table.append_column(_PLACE, pa.array(places))
    spread = [RowsOnDisk(table.schema, folder) for _ in range(0, len(rows), at_once)]
    for batch in table.to_batches():
        numbers = batch.column(_PLACE).to_numpy() // at_once
        order = np.argsort(numbers, kind="stable")
        bounds = np.searchsorted(numbers[order], np.arange(len(spread) + 1))
        for number, part in enumerate(spread):
            if len(own := order[bounds[number] : bounds[number + 1]]):
                part.add(batch.take(pa.array(own)))
    for part in spread:
        held = part.read()
        order = np.argsort(held.column(_PLACE).to_numpy())
        yield take_rows(held.drop_columns(_PLACE), order)
