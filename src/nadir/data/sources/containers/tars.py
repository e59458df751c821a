"""Tars: their members are found by reading the headers once, and read by offset ever after.

Nothing is ever extracted. A member's version is that of its tar and its offset.
"""

from __future__ import annotations

import functools
import re
import tarfile
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa

from nadir.data.paths import UnsafePathError, is_image, safe_join
from nadir.data.quarantine import Reason
from nadir.data.sources.containers.index import index_of
from nadir.data.sources.containers.tar_headers import plain_members
from nadir.data.sources.interfaces import Content, FileChangedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nadir.data.sources.interfaces import Store

MEMBERS: pa.Schema = pa.schema(
    [
        ("name", pa.string()),
        ("offset", pa.int64()),
        ("size", pa.int64()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
"""Members of a tar. Those with a reason cannot be used; those with a detail only are not images."""

# No header of a sound tar is longer, and a made-up length must not fill the memory.
_MAX_HEADER_BYTES = 1 << 20
_BATCH = 4096
_PLAIN_NAME = re.compile(r"[A-Za-z0-9-][A-Za-z0-9_. -]*")
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"(\xb5/\xfd")
# What tarfile makes of bytes that only look like headers.
_BROKEN = (tarfile.TarError, ValueError, ArithmeticError, LookupError, RecursionError)


class Span(NamedTuple):
    """Where a member lies in its tar, and its version."""

    offset: int
    size: int
    version: str


def members(store: Store, path: str, memory: Path | None) -> pa.Table:
    """What a tar holds, as a table of schema `MEMBERS`.

    Raises:
        OSError: The tar cannot be read.
    """
    return index_of(store, path, memory=memory, schema=MEMBERS, read=read_members).table()


def find_member(store: Store, path: str, name: str, memory: Path | None) -> Span:
    """Where a member lies.

    Raises:
        OSError: The tar cannot be read, or has no such member.
    """
    version = store.stat(path)[1]
    place = _places(store, path, version, memory).get(name)
    if place is None:
        raise FileNotFoundError(2, "the tar has no such member")
    return Span(*place, f"{version}@{place[0]}")


def read_member(store: Store, path: str, name: str, limit: int, memory: Path | None) -> Content:
    """The first `limit` bytes of a member.

    Raises:
        OSError: The tar cannot be read, or has no such member.
    """
    span = find_member(store, path, name, memory)
    found = store.read_range(path, span.offset, min(span.size, limit))
    if f"{found.version}@{span.offset}" != span.version:
        raise FileChangedError(0, "the tar has changed since it was listed")
    return Content(found.data, span.version)


@functools.lru_cache(maxsize=64)
def _places(
    store: Store, path: str, _version: str, memory: Path | None
) -> dict[str, tuple[int, int]]:
    """Offset and size by name; the version only distinguishes states of the tar."""
    table = members(store, path, memory)
    columns = (table.column(name).to_pylist() for name in MEMBERS.names)
    return {
        name: (offset, size)
        for name, offset, size, reason, detail in zip(*columns, strict=True)
        if reason is None and detail is None
    }


def read_members(store: Store, path: str, version: str) -> Iterator[pa.RecordBatch]:
    """Read the headers of a tar; ends with a row for the tar itself where it is broken."""
    rows: list[tuple[Any, ...]] = []
    size = store.stat(path)[0]
    last: dict[str, int] = {}
    for row in _walk(store, path, version, size):
        if row[0] in last and row[3] is None:
            # As in tar itself, a later member of the same name replaces the earlier.
            old = rows[last[row[0]]]
            rows[last[row[0]]] = (*old[:3], None, "replaced by a later member of the same name")
        last[row[0]] = len(rows)
        rows.append(row)
    for start in range(0, len(rows), _BATCH):
        columns = [list(column) for column in zip(*rows[start : start + _BATCH], strict=True)]
        yield pa.record_batch(columns, schema=MEMBERS)


def _walk(store: Store, path: str, version: str, size: int) -> Iterator[tuple[Any, ...]]:
    with store.open(path, version) as file:
        if file.read(6).startswith(_COMPRESSED):
            yield _broken("the tar is compressed, so its members cannot be read one by one")
            return
        try:
            yield from _headers(_Bounded(file), size)
        except _BROKEN as error:
            text = str(error) or type(error).__name__
            yield _broken(f"the tar cannot be read to its end ({text[:200]})")


def _headers(file: _Bounded, size: int) -> Iterator[tuple[Any, ...]]:
    start = 0
    for member in plain_members(file, size):
        start = member.end
        yield _named(member.name, member.offset, member.size)
    yield from _other_headers(file, size, start)


def _other_headers(file: _Bounded, size: int, start: int) -> Iterator[tuple[Any, ...]]:
    """What follows from some header on, as tarfile reads it."""
    file.seek(start)
    with tarfile.open(fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape") as tar:  # type: ignore[call-overload]
        end = start - 1
        while (member := tar.next()) is not None:
            tar.members.clear()  # or millions of them would stay
            if tar.offset <= end or member.size < 0:
                raise tarfile.ReadError(f"a length that leads backwards at byte {member.offset}")
            end = tar.offset
            if not member.isdir():
                yield _row(member, size)
            if member.isreg() and member.offset_data + member.size > size:
                raise tarfile.ReadError("it ends within a member")
        file.seek(tar.offset)
        if any(file.read(tarfile.BLOCKSIZE)):
            raise tarfile.ReadError(f"no header at byte {tar.offset}")


def _named(name: str, offset: int, size: int) -> tuple[Any, ...]:
    """A row for a sound regular member."""
    # Most members lie in no folder, and then nothing about their names can be wrong.
    if _PLAIN_NAME.fullmatch(name):
        return name, offset, size, None, None
    member = tarfile.TarInfo(name)
    member.offset_data, member.size = offset, size
    return _row(member, offset + size)


def _row(member: tarfile.TarInfo, size: int) -> tuple[Any, ...]:
    # Members are found by these names alone, so they need not be what the tar says.
    written = member.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    try:
        name = safe_join("", written)
    except UnsafePathError as error:
        return _unusable(written, Reason.UNSAFE_PATH, f"the member's name: {error}")
    if any(part.startswith(".") or part == "__MACOSX" for part in name.split("/")):
        return name, 0, 0, None, "hidden"
    if not member.isreg() or member.issparse():
        kind = "a sparse member" if member.isreg() else "a link or a device, which is not followed"
        return _unusable(name, Reason.UNSAFE_PATH, f"the member is {kind}")
    if member.offset_data + member.size > size:
        return _unusable(name, Reason.TRUNCATED, "the tar ends before the member does")
    return name, member.offset_data, member.size, None, None


def _unusable(name: str, reason: Reason, detail: str) -> tuple[Any, ...]:
    """A row for what cannot be used; files that are not images are only counted."""
    return name, 0, 0, str(reason) if is_image(name) else None, detail


def _broken(detail: str) -> tuple[Any, ...]:
    return "", 0, 0, str(Reason.BAD_ARCHIVE), detail


class _Bounded:
    """A file that refuses to read more at once than a header can hold."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, count: int = -1) -> bytes:
        if not 0 <= count <= _MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header claims to be larger than any is")
        data: bytes = self._file.read(count)
        return data
