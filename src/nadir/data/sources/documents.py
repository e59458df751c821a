"""Metadata files of every kind as a stream of rows: JSON lines, JSON, CSV, parquet.

A row is (values, fault): what it says, or why it cannot be understood; both are None for a blank
line. A fault costs its row only. Where the file as a whole makes no sense, one `NadirError` says
so.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.data.sources.cells import empty_cells, image_cells, is_bytes
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Row = tuple[dict[str, Any] | None, str | None]

MAX_LINE_BYTES = 1 << 20
"""Longest line of JSON lines or CSV that is read; longer ones are a fault."""
KEY = "file_name"
"""Key under which the name of a JSON object's entry is given to its row."""
EMBEDDED = "::embedded"
"""Key that is true where a parquet row holds the image itself."""

_BATCH = 1024


def read_documents(file: BinaryIO, name: str) -> Iterator[Row]:
    """The rows of a metadata file, in its order.

    Args:
        file: Opened, seekable.
        name: Its path; the ending says its kind, and errors name it.

    Raises:
        NadirError: The file as a whole cannot be understood.
    """
    ending = name.lower().rpartition(".")[2]
    if ending == "parquet":
        yield from _parquet(file, name)
    elif ending == "csv":
        yield from _csv(file, name)
    elif ending in ("jsonl", "ndjson") or _is_json_lines(file):
        yield from (_json_row(line, fault) for line, fault in _lines(file))
    else:
        yield from _json(file, name)


def _lines(file: BinaryIO) -> Iterator[tuple[str | None, str | None]]:
    """(text, fault) of each line; both None for a blank one."""
    first = True
    while line := file.readline(MAX_LINE_BYTES + 1):
        if len(line) > MAX_LINE_BYTES:
            while line and not line.endswith(b"\n"):
                line = file.readline(MAX_LINE_BYTES)
            yield None, f"the line has more than {MAX_LINE_BYTES:,} bytes"
            continue
        try:
            text = line.decode("utf-8-sig" if first else "utf-8").strip()
            yield text or None, None
        except UnicodeDecodeError as error:
            yield None, f"byte {error.start} of the line is not UTF-8"
        first = False


def _json_row(text: str | None, fault: str | None) -> Row:
    if text is None:
        return None, fault
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        return None, f"the line is not JSON: {str(error)[:200]}"
    return _object(value)


def _object(value: Any) -> Row:
    if isinstance(value, dict):
        return value, None
    return None, f"the row is no object but {type(value).__name__}"


def _is_json_lines(file: BinaryIO) -> bool:
    """True when the first line is a whole object that is not the whole file."""
    first = file.readline(MAX_LINE_BYTES)
    more = bool(file.read(64).strip())
    file.seek(0)
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    # Of a one-line file an entry per image is told from a post by its values.
    return isinstance(value, dict) and (
        more or not all(isinstance(entry, dict | list) for entry in value.values())
    )


def _json(file: BinaryIO, name: str) -> Iterator[Row]:
    """A list of posts, {"posts": [...]}, or an object with an entry per image."""
    try:
        value = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise _unreadable(name, f"it is not JSON: {str(error)[:200]}") from error
    if isinstance(value, dict) and isinstance(value.get("posts"), list):
        value = value["posts"]
    if isinstance(value, list):
        yield from (_object(entry) for entry in value)
    elif isinstance(value, dict):
        for key, entry in value.items():
            values, fault = _object(entry)
            yield None if values is None else {**values, KEY: key}, fault
    else:
        raise _unreadable(name, "it holds neither a list nor an object")


def _csv(file: BinaryIO, name: str) -> Iterator[Row]:
    reader = csv.reader(_csv_lines(file))
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise _unreadable(name, f"it is no CSV: {error}") from error
    if len(header) < 2:
        raise _unreadable(name, "its first line does not name at least two columns")
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield None, f"the record is no CSV: {error}"
            continue
        yield _csv_row(header, cells)


def _csv_lines(file: BinaryIO) -> Iterator[str]:
    """Lines as text; what is no UTF-8 becomes surrogates, so that it costs its row only."""
    encoding = "utf-8-sig"
    while line := file.readline(MAX_LINE_BYTES):
        yield line.decode(encoding, "surrogateescape")
        encoding = "utf-8"


def _csv_row(header: list[str], cells: list[str]) -> Row:
    if not any(cells):
        return None, None
    if len(cells) != len(header):
        return None, f"the record has {len(cells)} cells, the header names {len(header)}"
    if any("\udc80" <= c <= "\udcff" for cell in cells for c in cell):
        return None, "the record is not UTF-8"
    return dict(zip(header, cells, strict=True)), None


def _parquet(file: BinaryIO, name: str) -> Iterator[Row]:
    try:
        table = pq.ParquetFile(file)
        cells = image_cells(table.schema_arrow)
        columns = _light_columns(table.schema_arrow)
        for group in range(table.num_row_groups):
            empty = empty_cells(table, group, cells) if cells else frozenset()
            number = 0
            for batch in table.iter_batches(_BATCH, row_groups=[group], columns=columns):
                for row in batch.to_pylist() if columns else [{}] * batch.num_rows:
                    yield {**row, EMBEDDED: bool(cells) and number not in empty}, None
                    number += 1
    except (pa.ArrowException, ValueError) as error:
        raise _unreadable(name, f"it is no readable parquet file: {str(error)[:200]}") from error


def _light_columns(schema: pa.Schema) -> list[str]:
    """Columns without bytes, and the names beside embedded images."""
    columns = []
    for field in schema:
        if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            if field.type.get_field_index("path") >= 0:
                columns.append(f"{field.name}.path")
        elif not is_bytes(field.type):
            columns.append(field.name)
    return columns


def _unreadable(name: str, why: str) -> NadirError:
    return NadirError(
        f"the metadata file cannot be read: {why}",
        where=name,
        fix="correct the file, or take it out of the source",
    )
