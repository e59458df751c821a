"""Parquet files, a row group at a time: what one is written from, and how.

Tags are written as codes and the texts that they stand for: no text is hashed or measured for each
use, and who reads codes need not make them of text again. Readers see text either way.
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

ROWS_PER_GROUP = 1 << 18
"""Of a file that is written whole."""
TAGS = "tags"
"""A column of this name holds lists of structs of text that repeats."""
_DISTINCT = {"sha256", "path", "perceptual_hash", "record_id", "mean_luminance", "text"}
_LARGEST_DICTIONARY = 1 << 26


def open_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A writer for what `row_group` makes of tables of a schema."""
    if TAGS not in schema.names:
        return pq.ParquetWriter(path, schema, compression="zstd")
    leaves = [leaf for field in schema for leaf in _leaves(field.name, field.type)]
    writer = pq.ParquetWriter(
        path,
        pa.schema([_packed_field(field) for field in schema]),
        compression="zstd",
        # What hardly repeats would fill dictionaries of this size.
        use_dictionary=[leaf for leaf in leaves if leaf.rpartition(".")[2] not in _DISTINCT],
        dictionary_pagesize_limit=_LARGEST_DICTIONARY,
        # The least and the greatest of tags cost as much as writing them, and nobody asks.
        write_statistics=[leaf for leaf in leaves if not leaf.startswith(f"{TAGS}.")],
        store_schema=False,
    )
    # What Arrow's readers take for the types: text, not codes.
    stated = base64.b64encode(schema.serialize().to_pybytes()).decode()
    writer.add_key_value_metadata({"ARROW:schema": stated})
    return writer


def row_group(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """A table in one piece, for files must not depend on how tables lie in chunks.

    Args:
        table: All columns of `schema`; tags may be dictionary arrays.
        schema: Columns in their order, and their types.

    Raises:
        pyarrow.ArrowInvalid: A value does not fit its column's type.
    """
    columns = [
        _packed(table.column(field.name))
        if field.name == TAGS
        else table.column(field.name).cast(field.type).combine_chunks()
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=pa.schema([_packed_field(f) for f in schema]))


def regrouped(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """The rows of some tables, `rows` at a time, the last ones fewer; of no rows nothing."""
    held: pa.Table | None = None
    for table in tables:
        held = table if held is None else pa.concat_tables([held, table])
        while held.num_rows >= rows:
            yield held.slice(0, rows)
            held = held.slice(rows)
    if held is not None and held.num_rows:
        yield held


def _leaves(name: str, kind: pa.DataType) -> Iterator[str]:
    """A column's names in a parquet file."""
    if pa.types.is_list(kind):
        yield from _leaves(f"{name}.list.element", kind.value_type)
    elif pa.types.is_struct(kind):
        for field in kind:
            yield from _leaves(f"{name}.{field.name}", field.type)
    else:
        yield name


def _packed_field(field: pa.Field) -> pa.Field:
    if field.name != TAGS:
        return field
    codes = pa.dictionary(pa.int32(), pa.string())
    kind = pa.struct([(each.name, codes) for each in field.type.value_type])
    return pa.field(field.name, pa.list_(kind), nullable=field.nullable)


def _packed(tags: pa.ChunkedArray) -> pa.ListArray:
    """Lists of structs of text as codes, counted up in the order in which texts come first."""
    whole = tags.combine_chunks()
    uses, lengths = whole.flatten(), pc.list_value_length(whole).fill_null(0)
    fields = [_codes(uses.field(each.name)) for each in uses.type]
    structs = pa.StructArray.from_arrays(fields, [each.name for each in uses.type])
    ends = pc.cumulative_sum(lengths)
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends.cast(pa.int32())])
    return pa.ListArray.from_arrays(offsets, structs, mask=whole.is_null())


def _codes(values: pa.Array) -> pa.DictionaryArray:
    if not pa.types.is_dictionary(values.type):
        return values.dictionary_encode()
    # Of a larger dictionary those that are used.
    used = values.indices.dictionary_encode()
    return pa.DictionaryArray.from_arrays(used.indices, values.dictionary.take(used.dictionary))
