"""Images inside parquet tables: which column holds them, and how one of them is read."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nadir.data.sources.base import Content

if TYPE_CHECKING:
    from nadir.data.sources.base import Store

    Key = tuple[Store, str, str, int]

_USUAL = ["image", "img", "image_bytes", "bytes", "jpg", "jpeg", "png", "webp", "content", "data"]
_KEPT_BYTES = 256 << 20
_BATCH = 16

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


def empty_cells(file: pq.ParquetFile, group: int, column: str) -> frozenset[int]:
    """Rows of a row group, counted from 0 in it, that hold no image."""
    rows = file.metadata.row_group(group)
    for position in range(rows.num_columns):
        leaf = rows.column(position)
        if leaf.path_in_schema == column and leaf.is_stats_set:
            statistics = leaf.statistics
            if statistics.has_null_count and statistics.null_count == 0:
                return frozenset()
    values = _bytes_of(file.read_row_group(group, columns=[column]), column)
    return frozenset(np.flatnonzero(pc.is_null(values).to_numpy(zero_copy_only=False)).tolist())


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
        OSError: The table cannot be read.
    """
    version = store.stat(path)[1]
    try:
        data = _cell(store, path, version, number)
    except pa.ArrowException as error:
        raise OSError(5, f"the table cannot be read ({str(error)[:200]})") from error
    if data is None:
        raise FileNotFoundError(2, f"row {number} holds no image")
    return Content(data[:limit], version)


def _cell(store: Store, path: str, version: str, number: int) -> bytes | None:
    column, ends, sizes = _shape(store, path, version)
    group = int(np.searchsorted(ends, number))
    if not column or number < 1 or group >= len(ends):
        return None
    row = number - 1 - (ends[group - 1] if group else 0)
    if sizes[group] > _KEPT_BYTES:
        return _streamed(store, path, version, column, group, row)
    value = _whole(store, path, version, column, group)[row].as_py()
    return value if isinstance(value, bytes) else None


@functools.lru_cache(maxsize=256)
def _shape(store: Store, path: str, version: str) -> tuple[str, list[int], list[int]]:
    """The images' column, and for each row group its last row and the bytes of that column."""
    with store.open(path, version) as stream, pq.ParquetFile(stream) as file:
        column = image_cells(file.schema_arrow) or ""
        groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
        ends = np.cumsum([group.num_rows for group in groups]).tolist()
        return column, ends, [_size(group, column) for group in groups]


def _size(group: Any, column: str) -> int:
    leaves = [group.column(position) for position in range(group.num_columns)]
    return sum(x.total_uncompressed_size for x in leaves if x.path_in_schema == column)


def _whole(store: Store, path: str, version: str, column: str, group: int) -> pa.ChunkedArray:
    key = (store, path, version, group)
    # One thread reads, the others wait for what it reads.
    with _lock:
        if key not in _kept:
            with store.open(path, version) as stream, pq.ParquetFile(stream) as file:
                _kept[key] = _bytes_of(file.read_row_group(group, columns=[column]), column)
            while len(_kept) > 1 and sum(x.nbytes for x in _kept.values()) > _KEPT_BYTES:
                _kept.popitem(last=False)
        _kept.move_to_end(key)
        return _kept[key]


def _streamed(
    store: Store, path: str, version: str, column: str, group: int, row: int
) -> bytes | None:
    with store.open(path, version) as stream, pq.ParquetFile(stream) as file:
        for batch in file.iter_batches(_BATCH, row_groups=[group], columns=[column]):
            if row < batch.num_rows:
                value = _bytes_of(pa.Table.from_batches([batch]), column)[row].as_py()
                return value if isinstance(value, bytes) else None
            row -= batch.num_rows
    return None


def _bytes_of(table: pa.Table, column: str) -> pa.ChunkedArray:
    values = table.column(0)
    return pc.struct_field(values, "bytes") if column.endswith(".bytes") else values
