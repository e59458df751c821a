"""A table of tags and their classes, for tags whose source names none."""

from __future__ import annotations

import csv
import io
import posixpath
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.data.sources.detect import open_store
from nadir.data.tables import TAG_CLASSES
from nadir.data.tags_text import CLASSES, class_of_key, normalise_tag
from nadir.ground.errors import NadirError
from nadir.ground.workspace import resolve_local

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_TAG_COLUMNS = ("tag", "name")
_CLASS_COLUMNS = ("class", "category", "type")
_NUMBERS = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta"}
"""The classes' numbers in Danbooru's own tag tables."""
_MAX_BYTES = 1 << 30
_FIX = "correct the table, or set ingest.tag_table to null"


def load_tag_classes(location: str | None, *, endpoint_url: str | None = None) -> pa.Table:
    """The table at `location`, normalised, of schema `TAG_CLASSES`; empty without a location.

    Of tags that become the same when normalised, the first counts.

    Args:
        location: `.csv` with a header line, or `.parquet`; local or `s3://`.
        endpoint_url: Of an S3 server; None takes boto3's own settings.

    Raises:
        NadirError: It cannot be read, lacks a column, or holds a class that there is not.
    """
    if location is None:
        return TAG_CLASSES.empty_table()
    data = read_supplied(location, endpoint_url, key="ingest.tag_table", columns="tag and class")
    rows = (
        _parquet(data, location) if location.lower().endswith(".parquet") else _csv(data, location)
    )
    classes: dict[str, str] = {}
    for number, tag, given in rows:
        name = normalise_tag(tag)
        if name:
            classes.setdefault(name, _class(given, f"{location} {number}"))
    pairs = sorted(classes.items())
    columns = [pa.array([pair[i] for pair in pairs], pa.string()) for i in range(2)]
    return pa.Table.from_arrays(columns, schema=TAG_CLASSES)


def read_supplied(location: str, endpoint_url: str | None, *, key: str, columns: str) -> bytes:
    """The bytes of a table that a parameter names.

    Args:
        location: Local or `s3://`.
        endpoint_url: Of an S3 server; None takes boto3's own settings.
        key: The parameter.
        columns: What the table should hold, for the error.

    Raises:
        NadirError: It cannot be read.
    """
    folder, name = posixpath.split(
        location if location.startswith("s3://") else str(resolve_local(location))
    )
    try:
        return open_store(folder, endpoint_url=endpoint_url).read(name, _MAX_BYTES).data
    except (OSError, NadirError) as error:
        why = error.what if isinstance(error, NadirError) else error.strerror
        raise NadirError(
            f"the tag table {location} cannot be read ({why})",
            where=f"params.yaml {key}",
            fix=f"set it to a .csv or .parquet file with the columns {columns}, or to null",
        ) from None


def _class(given: Any, where: str) -> str:
    text = str(given).strip().lower()
    found = _NUMBERS.get(text) or class_of_key(text)
    if not found:
        known = ", ".join(CLASSES)
        raise NadirError(
            f"unknown class {text[:40]!r}; known: {known}, and Danbooru's numbers 0, 1, 3, 4, 5",
            where=where,
            fix=_FIX,
        )
    return found


def _csv(data: bytes, location: str) -> Iterator[tuple[str, str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        tag, kind = _columns(reader.fieldnames or (), location)
        for row in reader:
            if row[tag] is None or row[kind] is None:
                raise NadirError(
                    "the line has too few cells",
                    where=f"{location} line {reader.line_num}",
                    fix=_FIX,
                )
            yield f"line {reader.line_num}", row[tag], row[kind]
    except (UnicodeDecodeError, csv.Error) as error:
        raise NadirError(
            f"the tag table is no UTF-8 CSV: {error}", where=location, fix=_FIX
        ) from None


def _parquet(data: bytes, location: str) -> Iterator[tuple[str, str, Any]]:
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise NadirError(
            f"the tag table is no parquet file: {error}", where=location, fix=_FIX
        ) from None
    tag, kind = _columns(table.column_names, location)
    pairs = zip(table.column(tag).to_pylist(), table.column(kind).to_pylist(), strict=True)
    for number, (name, given) in enumerate(pairs, 1):
        yield f"row {number}", str(name), given


def _columns(names: Iterable[str], location: str) -> tuple[str, str]:
    """The table's own names of the tag and the class column."""
    own = {name.strip().lower(): name for name in names}
    tag = next((own[name] for name in _TAG_COLUMNS if name in own), None)
    kind = next((own[name] for name in _CLASS_COLUMNS if name in own), None)
    if tag is None or kind is None:
        raise NadirError(
            f"the tag table has the columns {', '.join(own) or '(none)'}, not tag and class",
            where=location,
            fix="name the columns tag and class in its first line",
        )
    return tag, kind
