"""Tables that a parameter names: CSV, mostly with a header line, or parquet, local or on S3."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.data.sources.containers.parquet_files import parsing
from nadir.data.sources.detect import open_store
from nadir.data.sources.interfaces import DamagedError
from nadir.ground.errors import NadirError
from nadir.ground.workspace import resolve_local

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Record = tuple[str, dict[str, Any]]

_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Supplied:
    """What a supplied table is, for reading it and for what is said about it.

    Attributes:
        key: The parameter that names it.
        what: What it is called: `tag table`.
        columns: For each column that is read, the names it may have, the first that is there.
        optional: Those of them that need not be there.
        starts_with_data: Whether the first line of a CSV is no header but a row, whose cells are
            the columns in their order.
    """

    key: str
    what: str
    columns: Mapping[str, Sequence[str]]
    optional: frozenset[str] = frozenset()
    starts_with_data: Callable[[Sequence[str]], bool] = lambda _: False

    @property
    def fix(self) -> str:
        """What to do about a fault in it."""
        return f"correct the table, or set {self.key} to null"

    @property
    def wanted(self) -> str:
        """The columns it must have, for sentences."""
        return " and ".join(name for name in self.columns if name not in self.optional)


def read_supplied(
    table: Supplied, location: str, *, endpoint_url: str | None = None
) -> Iterator[Record]:
    """(where, values by column) of each row; a column that is not there has no value.

    Args:
        table: What it is.
        location: Local or `s3://`.
        endpoint_url: Of an S3 server; None takes boto3's own settings.

    Raises:
        NadirError: It cannot be read, lacks a column, or a row lacks a cell.
    """
    data = _content(table, location, endpoint_url)
    if location.lower().endswith(".parquet"):
        yield from _parquet(table, data, location)
    else:
        yield from _csv(table, data, location)


def _content(table: Supplied, location: str, endpoint_url: str | None) -> bytes:
    try:
        if location.startswith("s3://"):
            folder, _, name = location.rpartition("/")
        else:
            # It may be a link: the user has named it.
            path = Path(resolve_local(location)).resolve()
            folder, name = str(path.parent), path.name
        return open_store(folder, endpoint_url=endpoint_url).read(name, _MAX_BYTES).data
    except (OSError, NadirError) as error:
        why = error.what if isinstance(error, NadirError) else error.strerror
        raise NadirError(
            f"the {table.what} {location} cannot be read ({why})",
            where=f"params.yaml {table.key}",
            fix=f"set it to a .csv or .parquet file with the columns {table.wanted}, or to null",
        ) from None


def _csv(table: Supplied, data: bytes, location: str) -> Iterator[Record]:
    try:
        text = data.decode("utf-8-sig")
        reader = csv.DictReader(io.StringIO(text, newline=""), _header(table, text), strict=True)
        own = _own_columns(table, list(reader.fieldnames or ()), location)
        for row in reader:
            where = f"{location} line {reader.line_num}"
            values = {ours: row[theirs] for ours, theirs in own.items()}
            if None in values.values():
                raise NadirError("the line has too few cells", where=where, fix=table.fix)
            yield where, values
    except (UnicodeDecodeError, csv.Error) as error:
        raise NadirError(
            f"the {table.what} is not UTF-8 CSV: {error}", where=location, fix=table.fix
        ) from None


def _header(table: Supplied, text: str) -> list[str] | None:
    """Names for the columns of a CSV that has no header line; None where it has one."""
    first = next(csv.reader(io.StringIO(text, newline=""), strict=True), [])
    return list(table.columns) if table.starts_with_data(first) else None


def _parquet(table: Supplied, data: bytes, location: str) -> Iterator[Record]:
    try:
        with parsing():
            file = pq.ParquetFile(pa.BufferReader(data))
            own = _own_columns(table, file.schema_arrow.names, location)
            read = file.read(columns=list(own.values()))
            columns = [read.column(theirs).to_pylist() for theirs in own.values()]
    except DamagedError as error:
        why = f"the {table.what} is not a parquet file: {error.strerror}"
        raise NadirError(why, where=location, fix=table.fix) from None
    for number, values in enumerate(zip(*columns, strict=True), 1):
        yield f"{location} row {number}", dict(zip(own, values, strict=True))


def _own_columns(table: Supplied, names: list[str], location: str) -> dict[str, str]:
    """Our names of columns and the table's; other columns are of no interest."""
    lower = {str(name).strip().lower(): name for name in reversed(names)}
    own = {
        ours: next(lower[name] for name in theirs if name in lower)
        for ours, theirs in table.columns.items()
        if not lower.keys().isdisjoint(theirs)
    }
    if not own.keys() >= table.columns.keys() - table.optional:
        raise NadirError(
            f"the {table.what} has the columns {', '.join(names) or '(none)'}, not {table.wanted}",
            where=location,
            fix=f"name the columns {table.wanted} in its first line",
        )
    return own
