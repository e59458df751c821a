"""Parquet files of others: what is broken or blown up in one row group stays there.

A column of a row group that unpacks to more than 64 MB and more than 20 times its bytes is refused
before it is unpacked: no image and hardly any text packs that well, but what is made to fill the
memory does. Values that are repeated are kept once, for the same reason.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.data.sources.interfaces import DamagedError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MAX_UNPACKED = 64 << 20
_MAX_RATIO = 20
_VALUE_BYTES = 8
# Other encodings cannot be read without writing every repetition out.
_FOLDING = {"PLAIN", "RLE", "BIT_PACKED", "RLE_DICTIONARY", "PLAIN_DICTIONARY"}


@contextlib.contextmanager
def parsing() -> Iterator[None]:
    """Make one error of all that pyarrow raises about what it reads.

    Raises:
        DamagedError: In its place; the store's own errors pass.
    """
    try:
        yield
    except OSError as error:
        # Those of a store have a number, pyarrow's own have none.
        if error.errno is not None:
            raise
        raise DamagedError(_line(error)) from error
    except (pa.ArrowException, ValueError, ArithmeticError, LookupError) as error:
        raise DamagedError(_line(error)) from error


def open_table(stream: BinaryIO) -> pq.ParquetFile:
    """A parquet file, by its footer.

    Raises:
        DamagedError: It is none, or its footer cannot be true.
    """
    size = stream.seek(0, 2)
    with parsing():
        file = pq.ParquetFile(stream)
        counts = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    # Even a row of repetitions has a name of its own; more rows would take hours to refuse.
    if min(counts, default=0) < 0 or sum(counts) > size:
        raise DamagedError(f"its footer claims {sum(counts):,} rows in {size:,} bytes")
    return file


def group_batches(
    stream: BinaryIO, file: pq.ParquetFile, group: int, columns: Sequence[str], *, rows: int
) -> Iterator[pa.RecordBatch]:
    """Some columns of a row group.

    Args:
        stream: What `file` was opened from.
        file: From `open_table`.
        group: Which row group, from 0.
        columns: Their names, `outer.inner` for a part of one.
        rows: Of each batch.

    Raises:
        DamagedError: They cannot be unpacked, or would fill the memory.
    """
    with parsing():
        parts = leaves(file.metadata.row_group(group), columns)
        for leaf in parts:
            refuse_bomb(leaf)
        folded = [leaf.path_in_schema for leaf in parts if _folds(leaf)]
        reader = pq.ParquetFile(stream, metadata=file.metadata, read_dictionary=folded)
        batches = reader.iter_batches(rows, row_groups=[group], columns=list(columns))
    while True:
        with parsing():
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def leaves(group: Any, columns: Sequence[str]) -> list[Any]:
    """What the footer says of the parts of some columns in a row group."""
    every = (group.column(position) for position in range(group.num_columns))
    begins = tuple(f"{name}." for name in columns)
    return [leaf for leaf in every if f"{leaf.path_in_schema}.".startswith(begins)]


def refuse_bomb(leaf: Any) -> None:
    """Refuse a part of a column that would fill the memory.

    Raises:
        DamagedError: It would.
    """
    unpacked = max(leaf.total_uncompressed_size, leaf.num_values * _VALUE_BYTES)
    packed = leaf.total_compressed_size
    if unpacked > _MAX_UNPACKED and unpacked > _MAX_RATIO * packed:
        raise DamagedError(
            f"{packed:,} bytes of its column {leaf.path_in_schema} unpack to {unpacked:,}; if they "
            "are meant to, write the table anew with smaller row groups"
        )


def _folds(leaf: Any) -> bool:
    return leaf.physical_type == "BYTE_ARRAY" and set(leaf.encodings) <= _FOLDING


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
