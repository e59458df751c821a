"""Rows of metadata files: which image each is about, and what it says about it, in short form."""

from __future__ import annotations

import functools
import hashlib
import json
import posixpath
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa

from nadir.data.quarantine import Reason
from nadir.data.sources.containers.index import index_of
from nadir.data.sources.containers.parquet_rows import EMBEDDED
from nadir.data.sources.interfaces import Content
from nadir.data.sources.rows.documents import read_documents
from nadir.data.sources.rows.row_names import (
    LongNameError,
    place_columns,
    with_id,
    written_names,
)
from nadir.data.tag_text import short_row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nadir.data.sources.interfaces import Store

ROWS: pa.Schema = pa.schema(
    [
        ("image", pa.string()),
        ("from_root", pa.string()),
        ("md5", pa.string()),
        ("id", pa.string()),
        ("embedded", pa.bool_()),
        ("written", pa.string()),
        ("tail", pa.string()),
        ("others", pa.list_(pa.string())),
        ("version", pa.string()),
        ("size", pa.int64()),
        ("row", pa.binary()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""One entry per row of a metadata file, blank ones too, so that row n is entry n.

`image` and `from_root` are the paths its name means, from the file's folder and from the source's
root; `tail` is a path of another machine; `others` are the names of further images; `row` is what
it says, as JSON; `version` is a hash of that.
"""

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), default=str)
_BATCH = 1024
_BATCH_BYTES = 16 << 20
_MAX_ROW_BYTES = 1 << 20


def read_rows(store: Store, path: str, memory: Path | None) -> pa.Table:
    """Every row of a metadata file, without what they say: a table of schema `ROWS` less `row`.

    Raises:
        TableError: The file cannot be understood.
        OSError: It cannot be read.
    """
    columns = [name for name in ROWS.names if name != "row"]
    return index_of(store, path, memory=memory, schema=ROWS, read=scan).table(columns)


def read_row(store: Store, path: str, number: int, memory: Path | None) -> Content:
    """What one row of a metadata file says, as JSON.

    Raises:
        FileNotFoundError: The file has no such row.
        OSError: It cannot be read.
    """
    index = index_of(store, path, memory=memory, schema=ROWS, read=scan)
    entry = index.entry(number, ("row", "version"))
    if entry is None or not isinstance(entry["row"], bytes):
        raise FileNotFoundError(2, f"{path} has no row {number}")
    return Content(entry["row"], str(entry["version"]))


def scan(store: Store, path: str, version: str) -> Iterator[pa.RecordBatch]:
    """Read a metadata file from its beginning to its end."""
    folder = posixpath.dirname(path)
    with store.open(path, version) as file:
        entries: list[dict[str, Any]] = []
        size = 0
        # Row by row: what a short line unfolds to is gone before the next one is read.
        for values, fault in read_documents(file, path):
            entry = _entry(values, fault, folder, store.location)
            entries.append(entry)
            size += entry.get("size", 0)
            if len(entries) == _BATCH or size > _BATCH_BYTES:
                yield pa.RecordBatch.from_pylist(entries, schema=ROWS)
                entries, size = [], 0
        yield pa.RecordBatch.from_pylist(entries, schema=ROWS)


def _entry(
    values: dict[str, Any] | None, fault: str | None, folder: str, root: str
) -> dict[str, Any]:
    if values is None:
        return {"reason": str(Reason.BAD_METADATA), "detail": fault} if fault else {}
    try:
        written = written_names(values)
    except LongNameError as error:
        return {"reason": str(Reason.BAD_METADATA), "detail": str(error)}
    row = _short(with_id(values, written))
    if len(row) > _MAX_ROW_BYTES:
        detail = f"the row says more than {_MAX_ROW_BYTES:,} bytes"
        return {"reason": str(Reason.BAD_METADATA), "detail": detail}
    entry: dict[str, Any] = {
        "embedded": values.get(EMBEDDED) is True,
        "md5": _text(values.get("md5") or _inner(values, "md5")),
        "id": _text(values.get("id")) if _is_post(tuple(values)) else None,
        "row": row,
        "size": len(row),
        "version": hashlib.blake2b(row, digest_size=8).hexdigest(),
    }
    if written and entry["embedded"]:
        entry["written"] = written[0]
    elif written:
        entry |= place_columns(written[0], folder, root)
        entry["others"] = written[1:]
    return entry


@functools.lru_cache(maxsize=1 << 10)
def _is_post(written: tuple[Any, ...]) -> bool:
    """Whether a row's id is an image's, by its keys: pools, comments and tags have ids, too."""
    keys = {str(key).lower() for key in written}
    if keys & {"md5", "tags", "file"} or any(k.startswith("tag_string") for k in keys):
        return True
    return bool(keys & {"caption", "prompt", "text"}) and "post_id" not in keys


def _short(values: dict[str, Any]) -> bytes:
    """What a row says about its image, in a form that changes only when that does."""
    short = short_row(values)
    try:
        return orjson.dumps(short, default=str, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # integers beyond 64 bits, half surrogates, keys that are not text
        return _ENCODER.encode(short).encode()


def _inner(values: dict[str, Any], key: str) -> Any:
    file = values.get("file")
    return file.get(key) if isinstance(file, dict) else None


def _text(value: Any) -> str | None:
    if isinstance(value, str) and value.isascii():
        return value[:200] or None
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        return None
    try:
        return str(value).encode("utf-8", "backslashreplace").decode()[:200]
    except ValueError:  # an integer of thousands of digits
        return None
