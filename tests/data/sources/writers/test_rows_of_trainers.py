"""Trainers' and taggers' rows find their images, wherever the dataset lay when it was written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from tests.data.sources.datasets import lines, parquet
from tests.data.sources.writers.six_posts import POSTS, general, of_files, outcome, pixels

from nadir.data.sources.detect import open_source

if TYPE_CHECKING:
    from pathlib import Path

EVERY = range(len(POSTS))
MACHINES = ["/home/me/train/img/", "D:\\train\\img\\", "\\\\nas\\share\\img\\", "../elsewhere/img/"]


def tags(number: int) -> list[str]:
    return sorted(str(POSTS[number]["general"]).split())


@pytest.mark.parametrize("place", [*MACHINES, "file:///train/img/", "img/", ".\\img\\"])
@pytest.mark.parametrize("ending", [".png", ".webp", ""])
def test_kohyas_full_paths_match_by_their_end(
    tmp_path: Path, root: Path, place: str, ending: str
) -> None:
    slash = "\\" if "\\" in place else "/"
    names = [f"{'10_a' if n < 3 else '5_b'}/img{n % 3:03}" for n in EVERY]
    rows = {
        f"{place}{name.replace('/', slash)}{ending}": {"tags": general(POSTS[n])}
        for n, name in enumerate(names)
    }
    files = {f"{name}.png": pixels(n) for n, name in enumerate(names)}
    found = of_files(tmp_path, files | {"meta_lat.json": json.dumps(rows).encode()}, root)
    assert found.reasons == {}
    assert found.tags == {f"{name}.png": tags(n) for n, name in enumerate(names)}


@pytest.mark.parametrize("place", [*MACHINES, "train/"])
@pytest.mark.parametrize("table", ["metadata.jsonl", "captions.jsonl", "metadata.csv"])
def test_taggers_lines_with_image_path_match_by_their_end(
    tmp_path: Path, root: Path, place: str, table: str
) -> None:
    rows = [{"image_path": f"{place}{n}.PNG", "caption": general(POSTS[n])} for n in EVERY]
    data = lines(rows)
    if table.endswith("csv"):
        cells = "".join(f'"{row["image_path"]}","{row["caption"]}"\n' for row in rows)
        data = f"image_path,caption\n{cells}".encode()
    files = {f"{n}.png": pixels(n) for n in EVERY}
    found = of_files(tmp_path, files | {table: data}, root)
    assert found.reasons == {}
    assert found.tags == {f"{n}.png": tags(n) for n in EVERY}


@pytest.mark.parametrize("table", ["captions.json", "wd14.json"])
@pytest.mark.parametrize(
    "entry",
    [
        lambda text: {"tags": text, "image_size": [80, 80]},
        lambda text: [text, "another caption"],
        lambda text: text,
    ],
)
@pytest.mark.parametrize("indent", [None, 4])
def test_one_json_by_image_is_read_under_any_name(
    tmp_path: Path, root: Path, table: str, entry: Any, indent: int | None
) -> None:
    """kohya's tagger and diffusion-pipe's captions.json, and the plainest of its kind."""
    rows = {f"train/{n}.png": entry(general(POSTS[n])) for n in EVERY}
    files = {f"{n}.png": pixels(n) for n in EVERY}
    files |= {table: json.dumps(rows, indent=indent).encode()}
    found = of_files(tmp_path, files, root)
    assert found.reasons == {}
    assert found.tags == {f"{n}.png": tags(n) for n in EVERY}
    assert found.format == "kohya"
    stated = outcome(tmp_path / "source", root, "kohya")
    assert stated.tags == found.tags


@pytest.mark.parametrize("table", ["jsonl", "parquet"])
def test_image_folders_name_images_by_other_keys(tmp_path: Path, root: Path, table: str) -> None:
    written = lines if table == "jsonl" else parquet
    one = [{"image_file_name": f"{n}.jpg", "text": general(POSTS[n])} for n in EVERY]
    several = [
        {"file_names": [f"{n}_0.jpg", f"{n}_1.jpg"], "text": general(POSTS[n])} for n in EVERY
    ]
    files = {f"a/metadata.{table}": written(one), f"b/metadata.{table}": written(several)}
    for n in EVERY:
        files[f"a/{n}.jpg"] = pixels(n, "jpg")
        files |= {f"b/{n}_{copy}.jpg": pixels(10 * n + copy + 100, "jpg") for copy in range(2)}
    found = of_files(tmp_path, files, root)
    assert found.reasons == {}
    expected = {f"a/{n}.jpg": tags(n) for n in EVERY}
    expected |= {f"b/{n}_{copy}.jpg": tags(n) for n in EVERY for copy in range(2)}
    assert found.tags == expected
    assert found.format == "imagefolder"


def test_a_mask_that_a_row_names_is_no_sample(tmp_path: Path, root: Path) -> None:
    rows = [{"image_file_name": "0.png", "mask_file_name": "0_mask.png", "text": "1girl, solo"}]
    files = {"0.png": pixels(0), "0_mask.png": pixels(1), "metadata.jsonl": lines(rows)}
    assert list(of_files(tmp_path, files, root).tags) == ["0.png"]


def test_rows_of_a_hub_table_are_called_as_the_images_in_it(tmp_path: Path, root: Path) -> None:
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    rows = [
        {"image": {"bytes": pixels(n), "path": f"{POSTS[n]['id']}.png"}, "text": general(POSTS[n])}
        for n in EVERY
    ]
    data = parquet(rows, pa.schema([("image", cell), ("text", pa.string())]))
    found = of_files(tmp_path, {"data/train-00000-of-00001.parquet": data}, root)
    assert sorted(found.ids.values()) == [str(post["id"]) for post in POSTS]


def test_an_image_may_be_called_like_a_metadata_file(tmp_path: Path, root: Path) -> None:
    names = ["kirby", "meta_knight", "posts_2023", "metadata", "captions", "post"]
    files = {f"{name}.png": pixels(n) for n, name in enumerate(names)}
    files |= {
        f"{name}.json": json.dumps({"tags": general(POSTS[n]).split(", "), "rating": "g"}).encode()
        for n, name in enumerate(names)
    }
    found = of_files(tmp_path, files, root)
    assert found.format == "folder"
    assert found.reasons == {}
    assert found.tags == {f"{name}.png": tags(n) for n, name in enumerate(names)}


def test_longer_ends_go_first_and_doubtful_ones_find_nothing(tmp_path: Path, root: Path) -> None:
    rows = {
        "/x/one/a/1.png": {"tags": "one_a"},
        "/x/two/a/1.png": {"tags": "two_a"},
        "/x/lost/1.png": {"tags": "lost"},
        "/y/b/2.png": {"tags": "first"},
        "/y/c/2.png": {"tags": "second"},
    }
    files = {"one/a/1.png": pixels(0), "two/a/1.png": pixels(1), "2.png": pixels(2)}
    found = of_files(tmp_path, files | {"meta_lat.json": json.dumps(rows).encode()}, root)
    assert found.tags == {"one/a/1.png": ["one_a"], "two/a/1.png": ["two_a"]}
    lost = {f"meta_lat.json#{number:06}": "unsafe_path" for number in (3, 4, 5)}
    assert found.reasons == lost | {"2.png": "no_tags"}


def test_a_path_of_another_machine_is_never_opened(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pathlib

    there = tmp_path / "elsewhere/0.png"
    there.parent.mkdir()
    there.write_bytes(pixels(5))
    files = {"sub/0.png": pixels(0)}
    rows = {str(there): {"tags": "1girl, solo"}, str(there.with_name("1.png")): {"tags": "x"}}
    opened, real = [], pathlib.Path.open

    def spy(self: pathlib.Path, *args: Any, **more: Any) -> Any:
        opened.append(str(self))
        return real(self, *args, **more)

    monkeypatch.setattr(pathlib.Path, "open", spy)
    found = of_files(tmp_path, files | {"meta_lat.json": json.dumps(rows).encode()}, root)
    assert found.tags == {"sub/0.png": ["1girl", "solo"]}
    assert found.reasons == {"meta_lat.json#000002": "unsafe_path"}
    assert str(there) not in opened
    with pytest.raises(PermissionError):
        open_source(str(tmp_path / "source"), "auto").read("../elsewhere/0.png", 10)


def test_names_match_without_case_only_when_nothing_else_does(tmp_path: Path, root: Path) -> None:
    rows = [{"file_name": "IMG\\A.JPG", "text": "exact, one"}]
    rows += [{"file_name": "img\\b.jpg", "text": "other, one"}]
    files = {"IMG/A.JPG": pixels(0, "jpg"), "img/a.jpg": pixels(1, "jpg")}
    files |= {"Img/B.jpg": pixels(2, "jpg"), "metadata.jsonl": lines(rows)}
    found = of_files(tmp_path, files, root)
    assert found.tags == {"IMG/A.JPG": ["exact", "one"], "Img/B.jpg": ["one", "other"]}
    assert found.reasons == {"img/a.jpg": "no_tags"}
