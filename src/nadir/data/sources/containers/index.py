"""What a large file of a source holds, found out once per version of it.

Reading a metadata file or the headers of a tar takes as long as it is large, but the listing must
be cheap. So what was found is kept as a parquet file under a name made of the file's path, size
and version, and read from there until the file changes. Nothing depends on it: it may be deleted.
"""

from __future__ import annotations

import bisect
import functools
import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.ground.files import atomic_path, canonical_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from nadir.data.sources.interfaces import Store

    Entries = Callable[[Store, str, str], Iterable[pa.RecordBatch]]

RULES = 5
"""Raise when what is kept about a file changes, so that all are read anew."""
GROUP = 8192
"""Most entries per row group of an index: what one look-up of a row has to read."""
GROUP_BYTES = 32 << 20
"""Bytes from which on a row group ends before."""


class Index:
    """What one version of a file holds.

    Args:
        where: The parquet file, or its bytes where nothing may be written.
    """

    def __init__(self, where: Path | bytes) -> None:
        self.where = where

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All entries."""
        with self._opened() as file:
            return file.read(columns=list(columns) if columns is not None else None)

    def entry(self, number: int, columns: Sequence[str]) -> dict[str, object] | None:
        """The entry with this number, counted from 1; None when there are not as many."""
        key = str(self.where) if isinstance(self.where, Path) else self.where
        ends = _ends(key)
        group = bisect.bisect_left(ends, number)
        if number < 1 or group == len(ends):
            return None
        row = number - 1 - (ends[group - 1] if group else 0)
        values = _group(key, group, tuple(columns))
        return {name: column[row].as_py() for name, column in zip(columns, values, strict=True)}

    def _opened(self) -> pq.ParquetFile:
        return _open(str(self.where) if isinstance(self.where, Path) else self.where)


def index_of(
    store: Store, path: str, *, memory: Path | None, schema: pa.Schema, read: Entries
) -> Index:
    """The index of a file as it is now.

    Args:
        store: Where the file lies.
        path: The file.
        memory: Folder where indexes are kept; None keeps them in this process only.
        schema: Of the entries.
        read: Gives the entries of (store, path, version) in batches.

    Raises:
        OSError: The file cannot be read.
    """
    size, version = store.stat(path)
    if memory is None:
        return _in_memory(store, path, size, version, schema, read)
    name = canonical_hash([store.location, path])[:20]
    state = canonical_hash([size, version, RULES, read.__qualname__])[:20]
    target = memory / f"{name}-{state}.parquet"
    if not _is_whole(target):
        with atomic_path(target) as temporary:
            _write(temporary, schema, read(store, path, version))
        for older in memory.glob(f"{name}-*.parquet"):
            if older != target:
                older.unlink(missing_ok=True)
    return Index(target)


def _is_whole(target: Path) -> bool:
    """Whether an index is there that no power cut has cut off; its end says what is in it."""
    try:
        pq.read_metadata(target)
    except (OSError, pa.ArrowException):
        return False
    return True


@functools.lru_cache(maxsize=64)
def _in_memory(
    store: Store, path: str, _size: int, version: str, schema: pa.Schema, read: Entries
) -> Index:
    sink = pa.BufferOutputStream()
    _write(sink, schema, read(store, path, version))
    return Index(sink.getvalue().to_pybytes())


def _write(
    target: Path | pa.NativeFile, schema: pa.Schema, batches: Iterable[pa.RecordBatch]
) -> None:
    """Entries in row groups that fit the memory whatever is in them."""
    waiting: list[pa.RecordBatch] = []
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in batches:
            waiting.append(batch)
            full = sum(len(one) for one in waiting) >= GROUP
            if full or sum(one.nbytes for one in waiting) >= GROUP_BYTES:
                writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=GROUP)
                waiting = []
        writer.write_table(pa.Table.from_batches(waiting, schema), row_group_size=GROUP)


def _open(where: str | bytes) -> pq.ParquetFile:
    place = where if isinstance(where, str) else pa.BufferReader(where)
    return pq.ParquetFile(place, pre_buffer=False)


@functools.lru_cache(maxsize=64)
def _ends(where: str | bytes) -> list[int]:
    """The last entry of each row group, counted from 1."""
    with _open(where) as file:
        groups = range(file.num_row_groups)
        return list(itertools.accumulate(file.metadata.row_group(i).num_rows for i in groups))


# Rows are asked for in about the order of their numbers, by several threads or processes.
@functools.lru_cache(maxsize=8)
def _group(where: str | bytes, group: int, columns: tuple[str, ...]) -> list[pa.Array]:
    with _open(where) as file:
        table = file.read_row_group(group, columns=list(columns))
        return [table.column(name).combine_chunks() for name in columns]
