"""A folder is listed completely, in order, and without leaving it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.datasets import tar, write
from tests.support.hostile import make_hostile_folder

from nadir.data import tables
from nadir.data.sources.detect import open_source
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path


def listed(folder: Path) -> dict[str, dict[str, object]]:
    rows = open_source(str(folder), "auto").list_images().table.to_pylist()
    return {row["path"]: row for row in rows}


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"content")


def test_the_listing_has_every_image_with_subfolders_sorted_by_path(tmp_path: Path) -> None:
    touch(tmp_path, "z.PNG", "b/two.jpeg", "a.webp", "b/c/three.avif", "notes.md", "photo.heic")
    table = open_source(str(tmp_path), "auto").list_images().table
    assert table.schema.equals(tables.LISTING)
    paths = table.column("path").to_pylist()
    assert paths == ["a.webp", "b/c/three.avif", "b/two.jpeg", "photo.heic", "z.PNG"]


@pytest.mark.parametrize("call", ["open", "scandir"])
def test_a_folder_that_cannot_be_read_is_listed_with_its_fault(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.png", "broken/b.png")
    broken, real = (tmp_path / "broken").stat().st_ino, getattr(os, call)

    def faulty(place: Any, *rest: Any) -> Any:
        if os.stat(place).st_ino == broken:  # noqa: PTH116 - a path or a handle
            raise OSError(5, "Input/output error")
        return real(place, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, faulty)
        rows = listed(tmp_path)
    assert rows["broken/"]["problem"] == "cannot_open"
    assert "Input/output error" in str(rows["broken/"]["detail"])
    assert rows["a.png"]["problem"] is None


def test_names_that_begin_like_hidden_ones_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, "_a.png", "__MACOSX.png", "__MACOSX/b.png", "c/__MACOSX", ".d.png", "_e/f.png")
    assert {*listed(tmp_path)} == {"_a.png", "__MACOSX.png", "_e/f.png"}


def test_endings_of_tag_files_may_be_upper_case(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.TXT", "b.png", "b.Json")
    rows = listed(tmp_path)
    assert [rows[name]["tags_path"] for name in ("a.png", "b.png")] == ["a.TXT", "b.Json"]


def test_size_and_time_are_those_of_the_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.txt")
    os.utime(tmp_path / "a.png", ns=(1, 1_700_000_000_123_456_789))
    row = listed(tmp_path)["a.png"]
    assert (row["size"], row["version"]) == (7, "1700000000123456789")
    assert row["tags_version"] == str((tmp_path / "a.txt").stat().st_mtime_ns)


@pytest.mark.parametrize(
    ("sidecars", "chosen"),
    [
        (["x.txt"], "x.txt"),
        (["x.jpg.txt", "x.txt", "x.json"], "x.jpg.txt"),
        (["x.json", "x.txt"], "x.txt"),
        (["x.jpg.json", "x.json"], "x.jpg.json"),
        (["y.txt", "sub/x.txt"], None),
    ],
)
def test_tags_are_looked_for_beside_the_image(
    tmp_path: Path, sidecars: list[str], chosen: str | None
) -> None:
    touch(tmp_path, "x.jpg", *sidecars)
    assert listed(tmp_path)["x.jpg"]["tags_path"] == chosen


def test_a_snapshot_of_a_hub_cache_says_what_to_name_instead(tmp_path: Path) -> None:
    cache = tmp_path / "datasets--someone--pictures"
    snapshot = cache / "snapshots" / "0123abc"
    touch(cache / "blobs", "d2f1")
    snapshot.mkdir(parents=True)
    (snapshot / "a.png").symlink_to("../../blobs/d2f1")
    row = listed(snapshot)["a.png"]
    assert row["problem"] == "unsafe_path"
    assert "make the folder that holds both `snapshots` and `blobs` the source" in row["detail"]
    assert "local_dir" in row["detail"]
    assert listed(cache)["snapshots/0123abc/a.png"]["problem"] is None


def test_links_and_pipes_named_like_images_have_a_fault_and_others_are_counted(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    make_hostile_folder(folder)
    (folder / "ok.json").symlink_to(tmp_path / "outside" / "secret.png")
    (folder / "shard.tar").symlink_to(tmp_path / "outside" / "secret.png")
    listing = open_source(str(folder), "folder").list_images()
    rows = {row["path"]: row for row in listing.table.to_pylist()}
    details = {
        "leaves.png": "the link leads out of the source and is not followed",
        "shard.tar": "the link leads out of the source and is not followed",
        "loop": "it is a link to a folder, which is not followed",
        "nowhere.png": "the link leads nowhere",
        "itself.png": "the link leads nowhere",
        "pipe.png": "it is a pipe, a socket or a device",
    }
    assert {path: rows[path]["detail"] for path in details} == details
    assert {rows[path]["problem"] for path in details} == {"unsafe_path", "missing_image"}
    assert not any(path.startswith("loop/") for path in rows)
    assert ".hidden.png" not in rows
    assert rows["ok.png"]["tags_path"] == "ok.txt"
    assert "not listed: 1 hidden, 1 links that leave the folder, 1 not named" in listing.notes[0]


def test_a_file_that_became_a_link_out_of_the_folder_is_not_opened(tmp_path: Path) -> None:
    touch(tmp_path, "images/a.png", "secret.png")
    source = open_source(str(tmp_path / "images"), "folder")
    assert source.read("a.png", 9).data == b"content"
    (tmp_path / "images/a.png").unlink()
    (tmp_path / "images/a.png").symlink_to(tmp_path / "secret.png")
    for ask in (source.open, source.version, lambda path: source.read(path, 9)):
        with pytest.raises(PermissionError, match="leads out of the source"):
            ask("a.png")


def test_a_single_file_may_be_a_link(tmp_path: Path) -> None:
    write(tmp_path, {"blob": tar({"a.png": b"content"})})
    (tmp_path / "snapshot").mkdir()
    (tmp_path / "snapshot/x.tar").symlink_to(tmp_path / "blob")
    assert set(listed(tmp_path / "snapshot/x.tar")) == {"x.tar::a.png"}


def test_a_link_to_a_file_inside_the_folder_counts(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "a.png")
    assert set(listed(tmp_path)) == {"a.png", "b.png"}


def test_the_folder_itself_may_be_a_link(tmp_path: Path) -> None:
    touch(tmp_path, "real/a.png")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert set(listed(tmp_path / "link")) == {"a.png"}


def test_names_that_are_no_utf8_are_listed_readably_and_as_nothing_else(tmp_path: Path) -> None:
    for name in (b"bad\xff.png", rb"bad\xff.png", b"it's\xff.png", b"d\xff/a.png", b"n\xff.txt"):
        touch(tmp_path, os.fsdecode(name))
    rows = listed(tmp_path)
    bad = {r"$'bad\xff.png'", r"$'it\'s\xff.png'", r"$'d\xff/a.png'"}
    assert set(rows) == bad | {r"bad\xff.png"}
    assert {rows[path]["problem"] for path in bad} == {"bad_name"}
    assert rows[r"bad\xff.png"]["problem"] is None


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("missing", "missing does not exist"),
        ("file.png", "is a file, not a folder"),
        (
            "empty",
            r"no image files in .*empty, read as folder\n  fix: set it to a folder with images",
        ),
        ("ftp://me:secret@host/x", "ftp://host/x is neither a folder nor s3://"),
    ],
)
def test_a_bad_location_is_one_clear_error(tmp_path: Path, location: str, message: str) -> None:
    touch(tmp_path, "file.png")
    (tmp_path / "empty").mkdir()
    place = location if "://" in location else str(tmp_path / location)
    with pytest.raises(NadirError, match=message):
        open_source(place, "auto").list_images()


def test_an_empty_listing_says_what_was_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "notes.md", "table.csv")
    with pytest.raises(NadirError, match="not listed: 2 not named like an image"):
        open_source(str(tmp_path), "auto").list_images()
