"""What is known about files from earlier runs, so that only new or changed ones are looked at.

A file is known by (path, size, version). The cache is a folder of small parquet files that
are never changed, only added and now and then merged, so a process may be killed at any moment.
Nothing depends on it: it may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from pathlib import Path

KEY = ["path", "size", "version"]
"""Columns that name a version of a file."""
KEY_TYPES = (pa.string(), pa.int64(), pa.string())
_MERGE_ABOVE = 16


class FactCache:
    """Facts about files.

    Args:
        folder: Where they are kept; one folder per source and set of rules.
        columns: The facts' names and types, besides `KEY`.
    """

    def __init__(self, folder: Path, columns: pa.Schema) -> None:
        self.folder = folder
        keys = [pa.field(name, kind) for name, kind in zip(KEY, KEY_TYPES, strict=True)]
        self.schema = pa.schema([*keys, *columns])

    def known(self) -> pa.Table:
        """Everything remembered, the latest version of each path last."""
        parts = [part for path in self._segments() if (part := self._read(path)) is not None]
        return pa.concat_tables([self.schema.empty_table(), *parts])

    def add(self, rows: pa.Table) -> None:
        """Remember rows of `schema`; they are on disk when this returns."""
        if rows.num_rows:
            self.folder.mkdir(parents=True, exist_ok=True)
            name = f"{time.time_ns():020d}-{os.getpid()}.parquet"
            with atomic_path(self.folder / name) as temporary:
                pq.write_table(rows, temporary, compression="zstd")

    def merge(self) -> None:
        """Make one file of many, keeping only the latest version of each path."""
        segments = self._segments()
        if len(segments) <= _MERGE_ABOVE:
            return
        table = self.known()
        self.add(table.filter(pa.array(match(table, table) == np.arange(table.num_rows))))
        for path in segments:
            path.unlink(missing_ok=True)

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _read(self, path: Path) -> pa.Table | None:
        # Another run may have merged it away, or an older release has written other columns.
        with contextlib.suppress(pa.ArrowException, OSError):
            table = pq.read_table(path, pre_buffer=False)
            return table if table.schema.equals(self.schema) else None
        return None


def match(wanted: pa.Table, known: pa.Table) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Where the rows of `wanted` are found in `known`.

    Args:
        wanted: With the columns `KEY`; rows may be null.
        known: With the columns `KEY`; no nulls.

    Returns:
        For each wanted row the number of the last row of `known` with its path, when size and
        version are its own as well; -1 otherwise.
    """
    if not known.num_rows:
        return np.full(wanted.num_rows, -1, dtype=np.int64)
    rows = pc.index_in(wanted.column("path"), _last_first(known.column("path")))
    rows = known.num_rows - 1 - rows.fill_null(known.num_rows).to_numpy().astype(np.int64)
    there = np.flatnonzero(rows >= 0)
    for name in KEY[1:]:
        left = wanted.column(name).take(pa.array(there))
        same = pc.equal(left, known.column(name).take(pa.array(rows[there])))
        there = there[same.fill_null(False).to_numpy(zero_copy_only=False)]
    found = np.full(wanted.num_rows, -1, dtype=np.int64)
    found[there] = rows[there]
    return found


def _last_first(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values backwards: of equal ones `index_in` finds the first."""
    parts = [part.take(pa.array(np.arange(len(part))[::-1])) for part in reversed(column.chunks)]
    return pa.chunked_array(parts, column.type)
