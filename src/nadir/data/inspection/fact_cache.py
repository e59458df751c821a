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

from nadir.data.coded_tags import TAG_LEAVES, decode, encode_all
from nadir.data.large_tables import take_rows
from nadir.ground.files import atomic_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from nadir.data.coded_tags import TagBook

    Span = tuple[str, str | None]

KEY = ["path", "size", "version"]
"""Columns that name a version of a file."""
KEY_TYPES = (pa.string(), pa.int64(), pa.string())
_MERGE_ABOVE = 16
_AT_ONCE = 100_000
_MERGED_AT_ONCE = 800_000
_SPARSE = 2
"""So many times the wanted rows may be read before they are looked for one by one."""


class FactCache:
    """Facts about files.

    Args:
        folder: Where they are kept; one folder per source and set of rules.
        columns: The facts' names and types, besides `KEY`.
        book: Where there is one, the column `tags` is its numbers in memory: those of millions of
            files are gigabytes as text.
    """

    def __init__(self, folder: Path, columns: pa.Schema, book: TagBook | None = None) -> None:
        self.folder, self.book = folder, book
        keys = [pa.field(name, kind) for name, kind in zip(KEY, KEY_TYPES, strict=True)]
        self.schema = pa.schema([*keys, *columns])

    def known(self, wanted: pa.Table | None = None) -> pa.Table:
        """What is remembered, the latest version of each path last.

        Args:
            wanted: With the column `path`: all that is remembered of these is among it, and little
                else, so that a part of a large source takes the memory of that part; default
                everything.
        """
        if wanted is None:
            return self._known(None)
        paths = wanted.column("path").drop_null()
        ends = pc.min_max(paths)
        return self._known((ends["min"].as_py() or "", ends["max"].as_py() or ""), paths)

    def _known(self, span: Span | None, paths: pa.ChunkedArray | None = None) -> pa.Table:
        """What is remembered of a span, of these paths alone where they are few of it."""
        while True:
            segments = self._segments()
            own = [path for path in segments if self._is_own(path)]
            rows = sum(_rows_of(path, span) for path in own)
            few = paths if paths is not None and rows > _SPARSE * len(paths) else None
            parts = [self._read(path, span, few) for path in own]
            # Another run may have merged some before they were read: what it made of them is there.
            if all(path.exists() for path in segments):
                break
        found = [part for part in parts if part is not None]
        return pa.concat_tables([self.held(self.schema.empty_table()), *found])

    def held(self, rows: pa.Table) -> pa.Table:
        """Rows of `schema` as they are held in memory."""
        if self.book is None:
            return rows
        return _with_tags(rows, encode_all(rows.column("tags"), self.book))

    def add(self, rows: pa.Table) -> None:
        """Remember rows of `schema`; they are on disk when this returns."""
        if rows.num_rows:
            self._write([self.held(rows)])

    def merge(self) -> None:
        """Make one file of many, sorted by path, keeping only the latest version of each."""
        segments = self._segments()
        if len(segments) <= _MERGE_ABOVE:
            return
        own = [path for path in segments if self._is_own(path)]
        self._write(self._latest(span) for span in _spans(own))
        for path in segments:
            path.unlink(missing_ok=True)

    def _latest(self, span: Span) -> pa.Table:
        """The latest version of each path from the first text of a span to before the second."""
        table, (first, end) = self._known(span), span
        within = pc.greater_equal(table.column("path"), first)
        if end is not None:
            within = pc.and_(within, pc.less(table.column("path"), end))
        table = table.filter(within)
        table = table.filter(pa.array(match(table, table) == np.arange(table.num_rows)))
        return take_rows(table, pc.sort_indices(table.column("path")).to_numpy())

    def _write(self, tables: Iterable[pa.Table]) -> None:
        """Write held rows as a file, some at a time: its text takes no more memory than theirs."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = f"{time.time_ns():020d}-{os.getpid()}.parquet"
        with (
            atomic_path(self.folder / name) as temporary,
            pq.ParquetWriter(temporary, self.schema, compression="zstd") as writer,
        ):
            for rows in tables:
                pairs = self.book.pairs() if self.book else None
                for start in range(0, rows.num_rows, _AT_ONCE):
                    part = rows.slice(start, _AT_ONCE)
                    if pairs:
                        tags = [decode(chunk, *pairs) for chunk in part.column("tags").chunks]
                        part = _with_tags(part, pa.chunked_array(tags))
                    writer.write_table(part)

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.parquet"))

    def _is_own(self, path: Path) -> bool:
        """Whether a file can be read and has these columns; an older release wrote others."""
        with contextlib.suppress(pa.ArrowException, OSError):
            return bool(pq.read_schema(path).equals(self.schema))
        return False

    def _read(self, path: Path, span: Span | None, few: pa.ChunkedArray | None) -> pa.Table | None:
        leaves, parts = TAG_LEAVES if self.book else None, [self.held(self.schema.empty_table())]
        with (
            contextlib.suppress(pa.ArrowException, OSError),
            pq.ParquetFile(path, read_dictionary=leaves, pre_buffer=False) as file,
        ):
            wanted = [at for at, held in enumerate(_groups(file)) if _meets(held, span)]
            for batch in file.iter_batches(_AT_ONCE, row_groups=wanted):
                rows = pa.Table.from_batches([batch])
                # Before tags are coded, which takes longer.
                if few is not None:
                    rows = rows.filter(pc.is_in(rows.column("path"), value_set=few))
                parts.append(self.held(rows))
            return pa.concat_tables(parts)
        return None


def _rows_of(path: Path, span: Span | None) -> int:
    """Rows of the row groups that a span meets."""
    with contextlib.suppress(pa.ArrowException, OSError), pq.ParquetFile(path) as file:
        about = file.metadata
        met = [_meets(held, span) for held in _groups(file)]
        return sum(about.row_group(at).num_rows for at, is_met in enumerate(met) if is_met)
    return 0


def _groups(file: pq.ParquetFile) -> Iterator[tuple[str, str] | None]:
    """The first and the last path of each row group; None where the file does not say it."""
    for number in range(file.metadata.num_row_groups):
        about = file.metadata.row_group(number).column(0).statistics
        yield (about.min, about.max) if about is not None and about.has_min_max else None


def _meets(held: tuple[str, str] | None, span: Span | None) -> bool:
    # Texts of Python are in the order of their bytes as UTF-8, which is that of Arrow's.
    if held is None or span is None:
        return True
    return span[0] <= held[1] and (span[1] is None or held[0] <= span[1])


def _spans(segments: Iterable[Path]) -> list[Span]:
    """Spans of all paths, of about `_MERGED_AT_ONCE` rows each, each up to the next one's first."""
    firsts: list[tuple[str, int]] = []
    for path in segments:
        with contextlib.suppress(pa.ArrowException, OSError), pq.ParquetFile(path) as file:
            for number, held in enumerate(_groups(file)):
                firsts.append((held[0] if held else "", file.metadata.row_group(number).num_rows))
    bounds, rows = [""], 0
    for first, count in sorted(firsts):
        if rows >= _MERGED_AT_ONCE and first > bounds[-1]:
            bounds.append(first)
            rows = 0
        rows += count
    return [*zip(bounds, [*bounds[1:], None], strict=True)]


def _with_tags(rows: pa.Table, tags: pa.ChunkedArray) -> pa.Table:
    return rows.set_column(rows.column_names.index("tags"), "tags", tags)


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
