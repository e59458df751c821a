"""Only what is new or has changed is read again, whatever the layout and wherever it lies."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.datasets import LAYOUTS, LIMITS, image, lines, parquet, post, tar, write
from tests.support.coded import in_words
from tests.support.inspecting import inspect_listing

from nadir.data.sources.containers import tars
from nadir.data.sources.detect import open_source
from nadir.data.sources.rows import metadata_rows as rows

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Source


class Readings:
    """Which (path, limit) the source was asked for since the last look."""

    def __init__(self, source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source = source
        self.paths: list[str] = []
        real = type(source).read

        def read(inner: Any, path: str, limit: int) -> Any:
            self.paths.append(path)
            return real(inner, path, limit)

        monkeypatch.setattr(type(source), "read", read)

    def since(self) -> list[str]:
        seen, self.paths = sorted(self.paths), []
        return seen


def look(source: Source, memory: Path) -> tuple[int, list[Any]]:
    """How many images were decoded, and what is known of all."""
    table = source.list_images().table
    found = inspect_listing(table, source, limits=LIMITS, memory=memory, workers=1)
    return found.looked_at, [table.to_pylist(), found.facts.to_pylist(), in_words(found)]


@pytest.mark.parametrize("layout", ["WebDataset", "booru JSON lines", "parquet of bytes"])
def test_a_second_look_decodes_nothing_and_finds_the_same(
    tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "source", LAYOUTS[layout][1]())
    source = open_source(str(folder), "auto", memory=tmp_path / "sources")
    first = look(source, tmp_path / "memory")
    assert first[0] == 12
    readings = Readings(source, monkeypatch)
    assert look(source, tmp_path / "memory") == (0, first[1])
    assert readings.since() == []


def test_on_s3_a_changed_etag_is_what_counts(s3: Any, bucket: str, tmp_path: Path) -> None:
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"{number}.png", Body=image(3 * number))
        s3.put_object(Bucket=bucket, Key=f"{number}.txt", Body=b"1girl")
    source = open_source(f"s3://{bucket}", "auto")
    assert look(source, tmp_path)[0] == 3
    # Written again unchanged, so the time is new and the ETag is not.
    s3.put_object(Bucket=bucket, Key="0.png", Body=image(0))
    assert look(source, tmp_path)[0] == 0
    s3.put_object(Bucket=bucket, Key="1.png", Body=image(9))
    s3.put_object(Bucket=bucket, Key="2.txt", Body=b"other")
    looked_at, (_, facts, tags) = look(source, tmp_path)
    assert looked_at == 1
    assert len({row["sha256"] for row in facts}) == 3
    assert tags[2]["tags"] == [{"name": "other", "class": ""}]


def test_a_new_tar_leaves_the_others_alone_and_their_headers_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "source", LAYOUTS["WebDataset"][1]())
    source = open_source(str(folder), "auto", memory=tmp_path / "sources")
    look(source, tmp_path / "memory")
    scanned: list[str] = []
    real = tars._walk

    def walk(store: Any, path: str, *rest: Any) -> Any:
        scanned.append(path)
        return real(store, path, *rest)

    monkeypatch.setattr(tars, "_walk", walk)
    write(folder, {"shard-2.tar": tar({"n.png": image(30), "n.txt": b"1girl"})})
    assert look(source, tmp_path / "memory")[0] == 1
    assert scanned == ["shard-2.tar"]


def test_a_line_more_reads_that_line_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    posts = [post(number) for number in range(3)]
    files = {f"{1000 + number}.png": image(number) for number in range(4)}
    folder = write(tmp_path / "source", files | {"posts.jsonl": lines(posts)})
    source = open_source(str(folder), "auto", memory=tmp_path / "sources")
    look(source, tmp_path / "memory")
    # What boorus count every day is of no interest, so the rows stay what they were.
    posts = [row | {"fav_count": 7} for row in [*posts, post(3)]]
    posts[1]["tag_string_general"] = "solo"
    write(folder, {"posts.jsonl": lines(posts)})
    readings = Readings(source, monkeypatch)
    looked_at, (_, _, tags) = look(source, tmp_path / "memory")
    assert looked_at == 0
    assert readings.since() == ["posts.jsonl#000002", "posts.jsonl#000004"]
    assert {"name": "solo", "class": "general"} in tags[1]["tags"]


def test_a_metadata_file_is_read_once_per_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path / "source", LAYOUTS["ImageFolder CSV"][1]())
    memory = tmp_path / "sources"
    first = open_source(str(folder), "auto", memory=memory).list_images()
    monkeypatch.setattr(rows, "read_documents", pytest.fail)
    again = open_source(str(folder), "auto", memory=memory).list_images()
    assert again.table.equals(first.table)
    assert len(list(memory.iterdir())) == 1
    monkeypatch.undo()
    os.utime(folder / "metadata.csv", ns=(5, 5))
    touched = open_source(str(folder), "auto", memory=memory).list_images()
    assert touched.table.equals(first.table)
    assert len(list(memory.iterdir())) == 1, "the index of the earlier version is gone"


def test_a_new_parquet_file_leaves_the_images_in_others_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "source", LAYOUTS["parquet of bytes"][1]())
    source = open_source(str(folder), "auto", memory=tmp_path / "sources")
    look(source, tmp_path / "memory")
    write(folder, {"data/more.parquet": parquet([{"image": image(40), "caption": "1girl"}])})
    assert look(source, tmp_path / "memory")[0] == 1


def test_rows_beyond_an_indexs_first_group_are_found(tmp_path: Path) -> None:
    from nadir.data.sources.containers.index import GROUP

    count = 2 * GROUP + 5
    text = [{"file_name": f"{number}.png", "text": f"t{number}"} for number in range(count)]
    folder = write(tmp_path / "source", {"metadata.jsonl": lines(text), "0.png": image(0)})
    source = open_source(str(folder), "auto", memory=tmp_path / "sources")
    assert source.list_images().table.num_rows == count
    for number in (1, GROUP, GROUP + 1, 2 * GROUP, 2 * GROUP + 5):
        said = json.loads(source.read(f"metadata.jsonl#{number:06d}", 100).data)
        assert said == {"text": f"t{number - 1}"}
    with pytest.raises(FileNotFoundError):
        source.read(f"metadata.jsonl#{count + 1:06d}", 100)
    with pytest.raises(FileNotFoundError):
        source.read("metadata.jsonl#000000", 100)


def test_sources_can_be_compared_and_copied(tmp_path: Path) -> None:
    source: Any = open_source(str(tmp_path), "folder", memory=tmp_path)
    assert dataclasses.replace(source) == source
