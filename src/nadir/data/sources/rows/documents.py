"""Metadata files of every kind as a stream of rows: JSON lines, JSON, CSV, parquet.

A row is (values, fault): what it says, or why it cannot be understood; both are None for a blank
line. A fault costs its row only. Where the file as a whole makes no sense, one `TableError` says
so.
"""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any, BinaryIO

from nadir.data.quarantine import Reason
from nadir.data.sources.containers.parquet_rows import NAMES, parquet_rows
from nadir.data.sources.interfaces import DamagedError
from nadir.data.sources.rows.envelopes import as_row, unwrapped
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nadir.data.sources.containers.parquet_rows import Row

MAX_LINE_BYTES = 1 << 20
"""Longest line of JSON lines or CSV that is read; longer ones are a fault."""
KEY = NAMES[0]
"""Key under which the name of a JSON object's entry is given to its row."""


class TableError(NadirError):
    """A metadata file that makes no sense as a whole.

    Args:
        why: What is wrong with it.
        where: The file.
        reason: For its row in quarantine, when there are other files to go on with.
        stray: It is whole, but no table, as a file that lies there by chance.
        fix: What to do about it.
    """

    def __init__(
        self,
        why: str,
        where: str,
        reason: Reason = Reason.BAD_METADATA,
        *,
        stray: bool = False,
        fix: str = "correct the file, or take it out of the source",
    ) -> None:
        super().__init__(f"the metadata file cannot be read: {why}", where=where, fix=fix)
        self.reason = reason
        self.stray = stray


def read_documents(file: BinaryIO, name: str) -> Iterator[Row]:
    """The rows of a metadata file, in its order.

    Args:
        file: Opened, seekable.
        name: Its path; the ending says its kind, and errors name it.

    Raises:
        TableError: The file as a whole cannot be understood.
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
            _skip_line(file, line)
            yield None, f"the line has more than {MAX_LINE_BYTES:,} bytes"
            continue
        try:
            text = line.decode("utf-8-sig" if first else "utf-8").strip()
            yield text or None, None
        except UnicodeDecodeError as error:
            yield None, f"byte {error.start} of the line is not UTF-8"
        first = False


def _skip_line(file: BinaryIO, line: bytes) -> None:
    """Read on to the end of a line that has begun."""
    while line and not line.endswith(b"\n"):
        line = file.readline(MAX_LINE_BYTES)


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
    return None, f"the row is not an object but {type(value).__name__}"


def _is_json_lines(file: BinaryIO) -> bool:
    """True when the first line is a whole object that is not the whole file."""
    first = file.readline(MAX_LINE_BYTES)
    more = bool(file.read(64).strip())
    file.seek(0)
    try:
        value = json.loads(first)
    except (ValueError, RecursionError):
        return False
    # Of a one-line file the rows may lie within; a post by itself is a line.
    return isinstance(value, dict) and (more or unwrapped(value) == [value])


def _json(file: BinaryIO, name: str) -> Iterator[Row]:
    """A list of posts, also within an answer, or an object with an entry per image."""
    try:
        value = json.loads(file.read().decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise TableError(f"it is not JSON: {str(error)[:200]}", name) from error
    value = unwrapped(value)
    if isinstance(value, list):
        yield from (_object(entry) for entry in value)
    elif isinstance(value, dict):
        for key, entry in value.items():
            values, fault = _object(as_row(key, entry))
            yield None if values is None else {**values, KEY: key}, fault
    else:
        raise TableError("it holds neither a list nor an object", name, stray=True)


def _csv(file: BinaryIO, name: str) -> Iterator[Row]:
    lines = _CsvLines(file)
    # A setting of the process; the lines are bounded already.
    csv.field_size_limit(MAX_LINE_BYTES)
    reader = csv.reader(lines, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise TableError(f"it is not CSV: {error}", name) from error
    if len(header) < 2:
        why = "its first line does not name at least two columns"
        raise TableError(why, name, stray=True)
    while True:
        lines.left = MAX_LINE_BYTES
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield None, f"the record is not CSV: {error}; is a quote not closed?"
            continue
        yield _csv_row(header, cells)


class _CsvLines:
    """Lines as text; what is not UTF-8 becomes surrogates, so that it costs its row only.

    A record may have several lines, of `left` bytes together.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.left = MAX_LINE_BYTES
        self._file = file
        self._encoding = "utf-8-sig"

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._file.readline(MAX_LINE_BYTES + 1)
        if not line:
            raise StopIteration
        self.left -= len(line)
        if self.left < 0:
            _skip_line(self._file, line)
            raise csv.Error(f"it has more than {MAX_LINE_BYTES:,} bytes")
        text = line.decode(self._encoding, "surrogateescape")
        self._encoding = "utf-8"
        return text


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
        yield from parquet_rows(file)
    except DamagedError as error:
        why = f"it is not a readable parquet file: {error.strerror}"
        raise TableError(why, name, Reason.BAD_ARCHIVE) from error
