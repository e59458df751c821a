"""Parquet tables as a stream of rows; only the columns that say something are read."""

from __future__ import annotations

import functools
import itertools
import re
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.sources.containers.cells import empty_cells, image_cells, is_bytes
from nadir.data.sources.containers.parquet_files import group_batches, open_table, parsing
from nadir.data.sources.interfaces import DamagedError
from nadir.data.tag_forms.dates import DATE_KEYS
from nadir.data.tag_text import is_row_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow.parquet as pq

    Row = tuple[dict[str, Any] | None, str | None]

NAMES = ("file_name", "filename", "image_path", "file_path", "path", "image", "file")
"""Keys under which a row names its image, the first that it has."""
_OTHER_NAMES = re.compile(r"(?:.*_)?file_names?", re.IGNORECASE)
# Such pictures belong to a sample and are none themselves.
_OF_A_SAMPLE = re.compile(r".*(?:mask|condition|control|segmentation|depth|canny).*", re.IGNORECASE)
EMBEDDED = "::embedded"
"""Key that is true where a parquet row holds the image itself."""

_BATCH = 1024
_FEW_BYTES = 8 << 20
_INNER = ("path", "file_name", "md5")


@functools.lru_cache(maxsize=1 << 10)
def is_name_key(key: Any) -> bool:
    """True for ImageFolder's further keys that name images: `x_file_name`, `file_names`."""
    return (
        isinstance(key, str)
        and _OTHER_NAMES.fullmatch(key) is not None
        and not _OF_A_SAMPLE.fullmatch(key)
    )


def parquet_rows(stream: BinaryIO) -> Iterator[Row]:
    """(values, fault) of each row; a row group that cannot be read has one fault for all its rows.

    Raises:
        DamagedError: The file as a whole is not a parquet file.
    """
    file = open_table(stream)
    with parsing():  # a name of a column may not be text
        cells, columns = image_cells(file.schema_arrow), _used_columns(file.schema_arrow)
    before = 0
    for group in range(file.num_row_groups):
        count, sound = file.metadata.row_group(group).num_rows, 0
        try:
            for row in _group_rows(stream, file, group, columns, cells):
                yield row
                sound += 1
        except DamagedError as error:
            first, last = before + sound + 1, before + count
            yield None, f"rows {first:,} to {last:,} cannot be read: {error.strerror}"
            # Blank, so that the rows behind them keep their numbers.
            yield from itertools.repeat((None, None), count - sound - 1)
        before += count


def _group_rows(
    stream: BinaryIO, file: pq.ParquetFile, group: int, columns: list[str], cells: str | None
) -> Iterator[Row]:
    empty = empty_cells(stream, file, group, cells) if cells else frozenset[int]()
    number, count = 0, file.metadata.row_group(group).num_rows
    batches = group_batches(stream, file, group, columns, rows=_BATCH) if columns else ()
    for batch in batches:
        named = {name: _at_once(batch.column(name)) for name in batch.schema.names}
        for values in _rows(named, batch.num_rows):
            if values[0] is not None:
                values[0][EMBEDDED] = bool(cells) and number not in empty
            yield values
            number += 1
    if columns and number < count:
        raise DamagedError("the row group ends before them")
    for left in range(number, count):
        yield {EMBEDDED: bool(cells) and left not in empty}, None


def _at_once(column: pa.Array) -> pa.Array | list[Any]:
    """The values of a column, where they are plain and few bytes; else the column as it is.

    Others one at a time: a text that a million rows share is in the batch only once, and a value
    that cannot be read costs no more than the rows that it is in.
    """
    try:
        plain = _plain(column)
        if plain is None:
            return column
        found: list[Any] = plain.to_numpy(zero_copy_only=False).tolist()
    except (ValueError, LookupError, pa.ArrowException):
        return column
    return found


def _plain(column: pa.Array) -> pa.Array | None:
    """A column of integers or of text that is few bytes written out, or None."""
    kind = column.type
    if pa.types.is_dictionary(kind) and pa.types.is_string(kind.value_type):
        # Damaged positions are outside the texts: `take` checks them, decoding does not.
        lengths = pc.binary_length(column.dictionary).take(column.indices)
        few = (pc.sum(lengths).as_py() or 0) <= _FEW_BYTES
        return column.dictionary_decode() if few else None
    whole = pa.types.is_integer(kind) and not column.null_count
    text = pa.types.is_string(kind) and column.nbytes <= _FEW_BYTES
    return column if whole or text else None


def _rows(columns: dict[str, pa.Array | list[Any]], count: int) -> Iterator[Row]:
    if all(isinstance(column, list) for column in columns.values()):
        for values in zip(*columns.values(), strict=True):
            yield dict(zip(columns, values, strict=True)), None
    else:
        for number in range(count):
            yield _row(columns, number)


def _row(columns: dict[str, pa.Array | list[Any]], number: int) -> Row:
    try:
        values = {
            name: column[number] if isinstance(column, list) else column[number].as_py()
            for name, column in columns.items()
        }
    except (pa.ArrowException, ValueError, ArithmeticError, LookupError) as error:
        # Dates reach further than years do, and may be in time zones that are not known here.
        if any(name in DATE_KEYS for name in columns):
            sound = {name: column for name, column in columns.items() if name not in DATE_KEYS}
            return _row(sound, number)
        if isinstance(error, UnicodeDecodeError):
            return None, "the row holds text that is not UTF-8"
        return None, f"the row holds a value that cannot be read: {str(error)[:200]}"
    return values, None


def _used_columns(schema: pa.Schema) -> list[str]:
    """Columns that name an image or say something about it; others are not read."""
    columns = []
    for field in schema:
        if field.name in NAMES and pa.types.is_struct(field.type):
            inner = [name for name in _INNER if field.type.get_field_index(name) >= 0]
            columns += [f"{field.name}.{name}" for name in inner]
        elif field.name in (*NAMES, "md5") or is_name_key(field.name) or is_row_key(field.name):
            columns += [] if is_bytes(field.type) else [field.name]
    return columns
