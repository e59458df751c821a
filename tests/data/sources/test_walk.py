"""A folder's files, walked in one pass, are those that a plain walk finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadir.data.sources.columns import by_path
from nadir.data.sources.interfaces import FILES
from nadir.data.sources.stores import local
from nadir.data.sources.stores.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

_SCANDIR = os.scandir
NAMES = (
    "a.jpg",
    "b-1/z.png",
    "b/.hidden.png",
    "b/.x_meta.json",
    "b/c/d/e.txt",
    "b/x.png",
    "caf\u00e9/\u96ea.webp",
    "z\U0001f600.gif",
)


def plain(folder: Path) -> list[dict[str, object]]:
    """What `pathlib` sees of the visible files, sorted as bytes are."""
    rows = []
    for path in folder.rglob("*"):
        hidden = path.name.startswith(".") and not path.name.endswith("_meta.json")
        if path.is_file() and not hidden:
            name, stat = path.relative_to(folder).as_posix(), path.stat()
            rows.append({"path": name, "size": stat.st_size, "version": str(stat.st_mtime_ns)})
    return sorted(rows, key=lambda row: str(row["path"]).encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, name in enumerate(NAMES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * number)
        os.utime(tmp_path / name, ns=(1, number - 3))
    return tmp_path


@pytest.mark.parametrize("at_once", [1, 2, 1000])
def test_the_walk_finds_what_a_plain_one_finds(
    folder: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(local, "_FILES_AT_ONCE", at_once)
    found = LocalStore(str(folder)).list_files()
    assert found.table.schema.equals(FILES)
    assert found.table.to_pylist() == plain(folder)
    assert found.ignored == {"hidden": 1}
    assert found.faults == ()


def test_a_time_beyond_64_bits_of_nanoseconds_is_a_version_too(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    (tmp_path / "b.png").touch()
    later = 10**10  # s: the year 2286
    os.utime(tmp_path / "a.png", (later, later))
    if (tmp_path / "a.png").stat().st_mtime != later:
        pytest.skip("the file system keeps no such time")
    table = LocalStore(str(tmp_path)).list_files().table
    assert table.to_pylist() == plain(tmp_path)
    assert table["version"][0].as_py() == f"{later}000000000"


class BreakingOff:
    """A folder that can be read up to its second entry."""

    def __init__(self, path: Path) -> None:
        self._entries = _SCANDIR(path)

    def __enter__(self) -> Iterator[os.DirEntry[str]]:
        return self._two()

    def __exit__(self, *_: object) -> None:
        self._entries.close()

    def _two(self) -> Iterator[os.DirEntry[str]]:
        yield next(self._entries)
        yield next(self._entries)
        raise OSError(5, "Input/output error")


def test_what_a_folder_gave_before_it_broke_off_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).touch()
    monkeypatch.setattr(os, "scandir", BreakingOff)
    found = LocalStore(str(tmp_path)).list_files()
    assert found.table.num_rows == 2
    (fault,) = found.faults
    assert "Input/output error" in fault[2]


@given(st.lists(st.text(max_size=3), max_size=6), st.booleans())
def test_paths_in_order_are_left_as_they_are_and_others_sorted(
    names: list[str], in_order: bool
) -> None:
    names = sorted(names, key=str.encode) if in_order else names
    table = pa.table({"path": pa.array(names, pa.string()), "row": range(len(names))})
    assert by_path(table).equals(table.take(pc.sort_indices(table, [("path", "ascending")])))
