"""Images inside parquet tables: which column holds them, and how one of them is read."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.sources.containers.parquet_files import (
    group_batches,
    leaves,
    open_table,
    parsing,
    refuse_bomb,
)
from nadir.data.sources.interfaces import Content

if TYPE_CHECKING:
    import pyarrow.parquet as pq

    from nadir.data.sources.interfaces import Store

    Key = tuple[Store, str, str, int]

_USUAL = ["image", "img", "image_bytes", "bytes", "jpg", "jpeg", "png", "webp", "content", "data"]
_KEPT_BYTES = 256 << 20
_BATCH = 16
_WHOLE = 1 << 16

_kept: OrderedDict[Key, pa.ChunkedArray] = OrderedDict()
_lock = threading.Lock()


def is_bytes(kind: pa.DataType) -> bool:
    """True for a column of raw bytes."""
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def image_cells(schema: pa.Schema) -> str | None:
    """The column of a table that holds images, as `name` or `name.bytes`; None without one."""
    found = [field.name for field in schema if is_bytes(field.type)]
    for field in schema:
        if pa.types.is_struct(field.type):
            inner = field.type.get_field_index("bytes")
            if inner >= 0 and is_bytes(field.type.field(inner).type):
                found.append(f"{field.name}.bytes")
    usual = [name for key in _USUAL for name in found if name.split(".")[0].lower() == key]
    return usual[0] if usual else found[0] if len(found) == 1 else None


def empty_cells(stream: BinaryIO, file: pq.ParquetFile, group: int, column: str) -> frozenset[int]:
    """Rows of a row group, counted from 0 in it, that hold no image.

    Raises:
        DamagedError: The column cannot be read.
    """
    with parsing():
        for leaf in leaves(file.metadata.row_group(group), [column]):
            refuse_bomb(leaf)
            stats = leaf.statistics if leaf.is_stats_set else None
            if stats is not None and stats.has_null_count and not stats.null_count:
                return frozenset()
    empty, before = set[int](), 0
    for batch in group_batches(stream, file, group, [column], rows=_BATCH):
        nulls = pc.is_null(_bytes_of(batch, column)).to_numpy(zero_copy_only=False)
        empty.update((np.flatnonzero(nulls) + before).tolist())
        before += batch.num_rows
    return frozenset(empty)


def read_cell(store: Store, path: str, number: int, limit: int) -> Content:
    """The first `limit` bytes of the image in a row.

    Row groups of up to 256 MB stay in memory for the rows that are asked for next; larger ones are
    read through anew for each row, so tables of images should have small row groups.

    Args:
        store: Where the table lies.
        path: The table.
        number: The row, counted from 1.
        limit: Bytes.

    Raises:
        FileNotFoundError: There is no such row, or it holds no image.
        DamagedError: The row cannot be unpacked, or would fill the memory.
        OSError: The table cannot be read.
    """
    version = store.stat(path)[1]
    data = _cell(store, path, version, number, limit)
    if data is None:
        raise FileNotFoundError(2, f"row {number} holds no image")
    return Content(data, version)


def _cell(store: Store, path: str, version: str, number: int, limit: int) -> bytes | None:
    column, ends, sizes = _shape(store, path, version)
    group = int(np.searchsorted(ends, number))
    if not column or number < 1 or group >= len(ends):
        return None
    row = number - 1 - (ends[group - 1] if group else 0)
    if sizes[group] <= _KEPT_BYTES:
        return _beginning(_whole(store, path, version, column, group, sizes[group]), row, limit)
    with store.open(path, version) as stream:
        for batch in group_batches(stream, open_table(stream), group, [column], rows=_BATCH):
            if row < batch.num_rows:
                return _beginning(_bytes_of(batch, column), row, limit)
            row -= batch.num_rows
    return None


@functools.lru_cache(maxsize=256)
def _shape(store: Store, path: str, version: str) -> tuple[str, list[int], list[int]]:
    """The images' column, and for each row group its last row and the bytes of that column."""
    with store.open(path, version) as stream:
        file = open_table(stream)
        with parsing():
            column = image_cells(file.schema_arrow) or ""
            groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
            ends = np.cumsum([group.num_rows for group in groups]).tolist()
            sizes = [sum(x.total_uncompressed_size for x in leaves(g, [column])) for g in groups]
            return column, ends, sizes


def _whole(
    store: Store, path: str, version: str, column: str, group: int, size: int
) -> pa.ChunkedArray:
    key = (store, path, version, group)
    # One thread reads, the others wait for what it reads.
    with _lock:
        if key not in _kept:
            while _kept and sum(x.nbytes for x in _kept.values()) + size > _KEPT_BYTES:
                _kept.popitem(last=False)
            with store.open(path, version) as stream:
                file = open_table(stream)
                batches = group_batches(stream, file, group, [column], rows=_WHOLE)
                _kept[key] = pa.chunked_array([_bytes_of(batch, column) for batch in batches])
        _kept.move_to_end(key)
        return _kept[key]


def _bytes_of(batch: pa.RecordBatch, column: str) -> pa.Array:
    values = batch.column(0)
    return pc.struct_field(values, "bytes") if column.endswith(".bytes") else values


def _beginning(values: pa.Array | pa.ChunkedArray, row: int, limit: int) -> bytes | None:
    """The first `limit` bytes of a value; never a second copy of all of them.

    Raises:
        DamagedError: It is not where the table says.
    """
    with parsing():
        value = values[row]
        if isinstance(value, pa.DictionaryScalar):
            value = value.value
        buffer = value.as_buffer()
    return None if buffer is None else buffer.slice(0, min(limit, buffer.size)).to_pybytes()
