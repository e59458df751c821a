"""Several forms in one tree: each folder as what is in it says, and the rest by name."""

from __future__ import annotations

import io
import json
import zipfile
from typing import TYPE_CHECKING

import pytest
from tests.data.sources.datasets import lines, parquet, tar
from tests.data.sources.writers.six_posts import POSTS, general, md5, of_files, pixels, strings

if TYPE_CHECKING:
    from pathlib import Path

EVERY = range(len(POSTS))


def ten_forms() -> dict[str, bytes]:
    """The same six posts ten times, each time with other pictures, under overlapping names."""
    files: dict[str, bytes] = {}

    def add(folder: str, name: str, form: int, n: int, ending: str = "png") -> str:
        files[f"{folder}/{name}.{ending}"] = pixels(1000 * form + n, ending)
        return f"{name}.{ending}"

    ids = [str(post["id"]) for post in POSTS]
    for n in EVERY:
        add("text", ids[n], 1, n)
        files[f"text/{ids[n]}.txt"] = general(POSTS[n]).encode()
        add("json", ids[n], 2, n)
        files[f"json/{ids[n]}.json"] = json.dumps({"tags": POSTS[n]["general"].split()}).encode()
        add("kohya/10_saber girl", str(n), 3, n)
        files[f"kohya/10_saber girl/{n}.txt"] = general(POSTS[n]).encode()
    rows = [{"file_name": add("hub", str(n), 4, n), "text": general(POSTS[n])} for n in EVERY]
    files["hub/metadata.jsonl"] = lines(rows)
    names = [add("booru/pictures", ids[n], 5, n) for n in EVERY]
    files["booru/dump/posts.jsonl"] = lines([strings(post) for post in POSTS])
    entries = {f"/old/{add('finetune', str(n), 6, n)}": {"tags": general(POSTS[n])} for n in EVERY}
    files["finetune/meta_lat.json"] = json.dumps(entries).encode()
    entries = {add("tagger", str(n), 7, n): {"tags": general(POSTS[n])} for n in EVERY}
    files["tagger/captions.json"] = json.dumps(entries).encode()
    members = {name: pixels(8000 + n) for n, name in enumerate(names)}
    files["tars/images/0000.tar"] = tar(members)
    files["tars/metadata.parquet"] = parquet([strings(post) for post in POSTS])
    members = {f"{n}.png": pixels(9000 + n) for n in EVERY}
    members |= {f"{n}.txt": general(POSTS[n]).encode() for n in EVERY}
    files["shards/00000.tar"] = tar(members)
    cells = [{"image": pixels(10_000 + n), "text": general(POSTS[n])} for n in EVERY]
    files["cells/train.parquet"] = parquet(cells)
    return files


def test_ten_forms_in_one_tree_are_all_read(tmp_path: Path, root: Path) -> None:
    found = of_files(tmp_path, ten_forms(), root)
    assert found.reasons == {}
    assert found.format == "mixed"
    assert len(found.tags) == 60
    for path, names in found.tags.items():
        number = next(n for n in EVERY if {*POSTS[n]["general"].split()} <= {*names})
        assert str(number) in path or str(POSTS[number]["id"]) in path or "cells" in path
    assert "repeats in folder names: kohya/10_saber girl 10 x, 6 images in all" in found.notes


def test_a_tree_of_forms_reads_the_same_when_it_is_stated_or_read_again(
    tmp_path: Path, root: Path
) -> None:
    auto = of_files(tmp_path, ten_forms(), root, memory=tmp_path / "memory")
    again = of_files(tmp_path, ten_forms(), root, "mixed", memory=tmp_path / "memory")
    assert auto == again


def test_a_row_takes_no_image_of_another_forms_folder(tmp_path: Path, root: Path) -> None:
    files = {"a/posts.jsonl": lines([strings(post) for post in POSTS[:3]])}
    files |= {f"a/{POSTS[n]['id']}.png": pixels(n) for n in range(2)}
    name = f"{POSTS[2]['id']}.png"
    files |= {f"b/{name}": pixels(2), f"b/{POSTS[2]['id']}.txt": b"its own, tags"}
    files |= {f"c/x_{name}": pixels(3)}
    files |= {"c/metadata.jsonl": lines([{"file_name": "y.png", "text": "x, y"}])}
    found = of_files(tmp_path, files, root)
    assert found.tags[f"b/{name}"] == ["its_own", "tags"]
    assert found.reasons[f"c/x_{name}"] == "no_tags"
    assert found.reasons["a/posts.jsonl#000003"] == "missing_image"


def test_rows_about_images_that_another_file_describes_are_counted(
    tmp_path: Path, root: Path
) -> None:
    files = {f"i/{md5(n)}.png": pixels(n) for n in range(3)}
    rows = [{"file_name": f"i/{md5(n)}.png", "text": f"1girl, number_{n}"} for n in range(3)]
    files |= {"metadata.jsonl": lines(rows)}
    files |= {"dump/posts.jsonl": lines([{**strings(POSTS[n]), "md5": md5(n)} for n in range(3)])}
    found = of_files(tmp_path, files, root)
    assert all(f"number_{n}" in found.tags[f"i/{md5(n)}.png"] for n in range(3))
    assert len(found.tags) == 3


def test_tars_beside_loose_images_are_no_part_of_the_dataset(tmp_path: Path, root: Path) -> None:
    files = {"a/x.png": pixels(0), "a/x.txt": b"1girl", "backup.tar": tar({"x.png": pixels(1)})}
    found = of_files(tmp_path, files, root)
    assert list(found.tags) == ["a/x.png"]
    assert "read as folder; it could be webdataset, too" in found.notes


def test_tars_in_a_folder_of_their_own_are_read_beside_a_folder_of_images(
    tmp_path: Path, root: Path
) -> None:
    members = {"y.png": pixels(1), "y.txt": b"1boy"}
    files = {"a/x.png": pixels(0), "a/x.txt": b"1girl", "b/0.tar": tar(members)}
    found = of_files(tmp_path, files, root)
    assert found.tags == {"a/x.png": ["1girl"], "b/0.tar::y.png": ["1boy"]}
    assert found.format == "mixed"


@pytest.mark.parametrize("layout", ["auto", "folder"])
def test_tables_and_json_that_are_not_read_are_named(
    tmp_path: Path, root: Path, layout: str
) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.png", pixels(3))
    unread = {
        "selected_tags.csv": b"tag_id,name,category,count\n1,1girl,0,5\n",
        "pools.jsonl": b'{"id": 5, "name": "a pool"}\n',
        "aspect_ratio_bucket_metadata_my.json": b'{"0.png": {"original_size": [80, 80]}}',
        "multidatabackend.json": b'[{"id": "my", "type": "local"}]',
        "info.json": b'{"name": "x", "images": 7}',
        "more.tsv": b"a\tb\n",
        "old.zip": packed.getvalue(),
    }
    files = {"0.png": pixels(0), "0.txt": b"1girl, solo", **unread}
    found = of_files(tmp_path, files, root, layout)
    assert found.tags == {"0.png": ["1girl", "solo"]}
    assert found.reasons == {}
    assert found.format == "folder"
    for name in unread:
        assert name in found.notes


def test_a_large_json_is_known_by_its_beginning(tmp_path: Path, root: Path) -> None:
    rows = {f"{n}.png": {"tags": f"1girl, number_{n}"} for n in range(20_000)}
    files = {f"{n}.png": pixels(n) for n in range(3)}
    files["tagger.json"] = json.dumps(rows).encode()
    assert len(files["tagger.json"]) > 1 << 19
    found = of_files(tmp_path, files, root)
    assert found.tags == {f"{n}.png": ["1girl", f"number_{n}"] for n in range(3)}
