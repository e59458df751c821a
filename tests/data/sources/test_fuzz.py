"""Whatever bytes a source holds, it is listed or refused with a clear error, and stays inside.

Sizes are bounded: what is tested is understanding, not endurance.
"""

from __future__ import annotations

import io
import json
import posixpath
import tarfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.sources.datasets import image, tar, write

from nadir.data.paths import (
    UnsafePathError,
    cell_path,
    is_row,
    place_of,
    row_path,
    safe_join,
)
from nadir.data.sources.detect import open_source
from nadir.data.sources.interfaces import DamagedError
from nadir.data.sources.rows.documents import read_documents
from nadir.data.tables import LISTING
from nadir.data.tag_text import CLASSES, TagsFileError, parse_tag_file
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import TypeVar

    from nadir.data.sources.interfaces import Source

    T = TypeVar("T")

FUZZ = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
NAMES = st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(
    ["..", "../a.png", "/a.png", "a.png", "./a.png", "b/../a.png", "b/../../a.png", "\0", "C:\\a"]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(
    ["file_name", "image", "path", "md5", "id", "tags", "tag_string_general", "artist", "text",
     "rating", "score", "file", "general"]
)  # fmt: skip
ROWS = st.dictionaries(KEYS, VALUES, max_size=5)


@FUZZ
@given(st.lists(NAMES, max_size=4), st.sampled_from(["", "a", "a/b"]))
def test_a_joined_path_never_leaves_the_source(parts: list[str], folder: str) -> None:
    try:
        path = safe_join(folder, "/".join(parts), "/root")
    except UnsafePathError:
        return
    assert path == posixpath.normpath(path)
    assert not path.startswith("/")
    assert ".." not in path.split("/")


@FUZZ
@given(st.text(max_size=30), st.integers(1, 10**9))
def test_paths_say_what_they_mean(text: str, number: int) -> None:
    assert place_of(row_path(f"{text}x.jsonl", number)).row == number
    assert is_row(row_path(f"{text}x.csv", number))
    if "::" not in text:
        assert place_of(cell_path(f"{text}x.parquet", number)) == (
            f"{text}x.parquet", None, number, None
        )  # fmt: skip
        assert place_of(f"x.tar::{text}y.png").member == f"{text}y.png"


@FUZZ
@given(
    st.binary(max_size=300),
    st.sampled_from(["a.jsonl", "a.json", "a.csv", "a.parquet", "a.ndjson"]),
    st.booleans(),
)
def test_no_bytes_break_the_readers(data: bytes, name: str, lead: bool) -> None:
    if lead:
        data = {"csv": b"a,b\n", "parquet": b"PAR1"}.get(name.rpartition(".")[2], b'{"a": ') + data
    rows, error = attempt(lambda: list(read_documents(io.BytesIO(data), name)))
    assert error is None or (error.where == name and error.fix)
    for values, fault in rows or ():
        assert values is None or isinstance(values, dict)
        assert fault is None or (fault and values is None)


def attempt(work: Callable[[], T]) -> tuple[T | None, NadirError | None]:
    """The result, or the one error that may be."""
    try:
        return work(), None
    except NadirError as error:
        return None, error


def check(folder: Path, layout: str) -> set[str] | None:
    """List, read every tag row and image; nothing but stated errors, and a row for every thing.

    Returns:
        The paths, or None when there was an error.
    """
    source = open_source(str(folder), layout)
    listing, error = attempt(source.list_images)
    if listing is None:
        assert error is not None
        assert error.fix
        return None
    assert listing.table.schema.equals(LISTING)
    for row in listing.table.to_pylist():
        assert (row["problem"] is None) == (row["detail"] is None)
        if row["problem"] is None:
            assert ".." not in row["path"].split("::")[-1].split("/")
            size = len(content(source, row["path"]))
            assert row["size"] in (-1, size)
        if row["tags_path"]:
            tags = source.read(row["tags_path"], 1 << 20)
            assert tags.version == row["tags_version"]
            try:
                found = parse_tag_file(tags.data, row["tags_path"])
            except TagsFileError:
                continue
            assert all(tag and kind in ("", *CLASSES) for tag, kind in found.tags)
            for word in (found.rating, found.record_id):
                assert word is None or word.encode()
    return set(listing.table.column("path").to_pylist())


def content(source: Source, path: str) -> bytes:
    """An image; of a table it may turn out damaged only now."""
    try:
        return source.read(path, 1 << 20).data
    except DamagedError:
        if ".parquet::" not in path:
            raise
        return b""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path / "source", {"a.png": image(0), "b/a.png": image(3)})


@FUZZ
@given(
    rows=st.lists(ROWS, max_size=5),
    names=st.sampled_from(
        ["metadata.jsonl imagefolder", "posts.jsonl booru", "posts.json booru", "meta_x.json kohya"]
    ),
)
def test_no_rows_break_the_listing(folder: Path, rows: list[Any], names: str) -> None:
    name, layout = names.split()
    if layout == "kohya":
        text = json.dumps({str(row.get("file_name")): row for row in rows})
    elif name.endswith(".json"):
        text = json.dumps(rows)
    else:
        text = "\n".join(json.dumps(row) for row in rows)
    for old in folder.glob("*.json*"):
        old.unlink()
    (folder / name).write_text(text)
    check(folder, layout)


COLUMNS = {
    "file_name": pa.string(),
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
    "tags": pa.list_(pa.string()),
    "md5": pa.large_string(),
    "rating": pa.float64(),
    "id": pa.int64(),
    "score": pa.timestamp("s"),
    "general": pa.timestamp("us", tz="Mars/Base"),
    "created_at": pa.timestamp("s", tz="UTC"),
    # Any bytes, written as if they were text.
    "text": pa.binary(),
}
BYTES = st.none() | st.binary(max_size=9)
CELLS = {
    "file_name": st.none() | NAMES,
    "image": st.none() | st.fixed_dictionaries({"bytes": BYTES, "path": st.none() | NAMES}),
    "tags": st.none() | st.lists(st.none() | NAMES, max_size=3),
    "md5": st.none() | NAMES,
    "rating": st.none() | st.floats(),
    "id": st.none() | st.integers(-(1 << 62), 1 << 62),
    "score": st.none() | st.integers(-(1 << 52), 1 << 52),
    "general": st.none() | st.integers(-(1 << 52), 1 << 52),
    "created_at": st.none() | st.integers(-(1 << 52), 1 << 52),
    "text": BYTES,
}


@st.composite
def tables(draw: st.DrawFn) -> pa.Table:
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, unique=True))
    rows = draw(st.lists(st.fixed_dictionaries({c: CELLS[c] for c in names}), max_size=5))
    table = pa.Table.from_pylist(rows, schema=pa.schema([(c, COLUMNS[c]) for c in names]))
    if "text" in names:
        column = table.column("text").combine_chunks()
        text = pa.Array.from_buffers(pa.string(), len(column), column.buffers())
        table = table.set_column(names.index("text"), "text", text)
    return table


LAYOUT = st.sampled_from(["parquet", "booru", "imagefolder"])


@FUZZ
@given(table=tables(), layout=LAYOUT)
def test_no_parquet_breaks_the_listing(folder: Path, table: pa.Table, layout: str) -> None:
    pa.parquet.write_table(table, folder / "metadata.parquet", row_group_size=2)
    check(folder, layout)


DAMAGE = st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=8)


@FUZZ
@given(
    table=tables(),
    layout=LAYOUT,
    damage=DAMAGE,
    codec=st.sampled_from(["none", "snappy", "zstd"]),
    pages=st.booleans(),
)
def test_no_damage_to_parquet_breaks_the_listing(
    folder: Path, table: pa.Table, layout: str, damage: list[Any], codec: str, pages: bool
) -> None:
    """Behind a footer that is sound, so that the pages are read; or in the footer itself."""
    sink = io.BytesIO()
    pa.parquet.write_table(table, sink, row_group_size=2, compression=codec)
    data = bytearray(sink.getvalue())
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    start, end = (4, footer) if pages and footer > 4 else (footer, len(data))
    for at, value in damage:
        data[start + int(at * (end - start))] = value
    (folder / "metadata.parquet").write_bytes(data)
    (folder / "sound").mkdir(exist_ok=True)
    pa.parquet.write_table(pa.table({"file_name": ["../a.png"], "text": ["solo"]}),
                           folder / "sound" / "metadata.parquet")  # fmt: skip
    found = check(folder, layout)
    # However damaged it is, the sound table beside it is read.
    assert found is not None
    assert "a.png" in found


@FUZZ
@given(
    members=st.lists(st.tuples(NAMES, st.binary(max_size=40)), max_size=5),
    form=st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT]),
)
def test_no_members_break_the_listing(
    tmp_path: Path, members: list[tuple[str, bytes]], form: int
) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form, errors="surrogateescape") as archive:
        for name, data in members:
            info = tarfile.TarInfo(f"{name}.png")
            info.size = len(data)
            if form != tarfile.USTAR_FORMAT or name.isascii():
                archive.addfile(info, io.BytesIO(data))
    check(write(tmp_path / "tars", {"x.tar": sink.getvalue()}), "webdataset")


SOUND = tar({"a.png": b"pixels", "a.txt": b"1girl", "b/c.png": b"more"})


@FUZZ
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=12),
    st.integers(0, 1536),
)
def test_no_damage_to_a_tar_breaks_the_listing(
    tmp_path: Path, damage: list[tuple[int, int]], cut: int
) -> None:
    data = bytearray(SOUND)
    for at, value in damage:
        data[at] = value
    for at in range(0, 3072, 1024):
        # Right checksums let the damage through to the code behind them.
        data[at + 148 : at + 156] = b" " * 8
        data[at + 148 : at + 156] = f"{sum(data[at : at + 512]):06o}\0 ".encode()
    check(write(tmp_path / "tars", {"x.tar": bytes(data[: len(data) - cut])}), "webdataset")
