"""Posts find their images: by md5 or id in a name, in tars, under every name of a dump."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.datasets import lines, parquet, tar
from tests.data.sources.writers.six_posts import (
    POSTS,
    WORDS,
    classes_of,
    md5,
    of_files,
    outcome,
    pixels,
    strings,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.data.sources.writers.six_posts import Outcome

EVERY = range(len(POSTS))


def used(found: Outcome, names: list[str]) -> None:
    """Every post's image is used, with its classes, rating and id; nothing is in quarantine."""
    assert found.reasons == {}
    assert found.classes == {name: classes_of(n) for n, name in enumerate(names)}
    assert found.ratings == {name: WORDS[POSTS[n]["rating"]] for n, name in enumerate(names)}
    assert found.ids == {name: str(POSTS[n]["id"]) for n, name in enumerate(names)}


def posts(ending: str = "png") -> list[dict[str, Any]]:
    return [{**strings(POSTS[n]), "md5": md5(n, ending), "file_ext": ending} for n in EVERY]


def test_danbooru_names_its_downloads_by_md5(tmp_path: Path, root: Path) -> None:
    names = [
        f"__{POSTS[n]['character'] or 'original'}_drawn_by_x__{md5(n, 'jpg')}.jpg" for n in EVERY
    ]
    files = {name: pixels(n, "jpg") for n, name in enumerate(names)}
    files["posts.json"] = json.dumps(posts("jpg")).encode()
    used(of_files(tmp_path, files, root), names)


@pytest.mark.parametrize("upper", [False, True])
def test_gallery_dl_writes_one_data_jsonl_beside_names_of_id_and_md5(
    tmp_path: Path, root: Path, upper: bool
) -> None:
    names = []
    for n in EVERY:
        digest = md5(n).upper() if upper else md5(n)
        names.append(f"danbooru/1girl/danbooru_{POSTS[n]['id']}_{digest}.png")
    rows = [{**post, "filename": post["md5"], "extension": "png"} for post in posts()]
    files = {name: pixels(n) for n, name in enumerate(names)}
    files["danbooru/1girl/data.jsonl"] = lines(rows)
    used(of_files(tmp_path, files, root), names)


@pytest.mark.parametrize("table", ["post.json", "posts.json", "dump/posts.jsonl", "danbooru.csv"])
def test_yande_re_names_its_downloads_by_id(tmp_path: Path, root: Path, table: str) -> None:
    rows = [{**post, "md5": "f" * 31 + str(n)} for n, post in enumerate(posts())]
    names = [f"yande.re {row['id']} 1girl 2girls {n}.png" for n, row in enumerate(rows)]
    data = json.dumps(rows).encode()
    if table.endswith("jsonl"):
        data = lines(rows)
    elif table.endswith("csv"):
        text = [",".join(rows[0])] + [",".join(map(str, row.values())) for row in rows]
        data = "\n".join(text).encode()
    files = {name: pixels(n) for n, name in enumerate(names)} | {table: data}
    used(of_files(tmp_path, files, root), names)


@pytest.mark.parametrize(
    "envelope",
    [
        lambda rows: {"@attributes": {"limit": 100, "count": 6}, "post": rows},
        lambda rows: {"success": True, "posts": rows},
        lambda rows: {"response": {"count": 6, "posts": rows}},
        lambda rows: {"meta": {"page": 1}, "anything": rows},
        lambda rows: {"data": {str(row["id"]): row for row in rows}},
    ],
)
@pytest.mark.parametrize("indent", [None, 1])
def test_an_answer_may_have_its_posts_within_something(
    tmp_path: Path, root: Path, envelope: Any, indent: int | None
) -> None:
    names = [f"images/{md5(n)}.png" for n in EVERY]
    files = {name: pixels(n) for n, name in enumerate(names)}
    files["posts.json"] = json.dumps(envelope(posts()), indent=indent).encode()
    used(of_files(tmp_path, files, root), names)


@pytest.mark.parametrize("table", ["metadata.parquet", "metadata.jsonl", "all.parquet"])
def test_cheesechaser_puts_ids_beside_a_metadata_table_that_names_no_file(
    tmp_path: Path, root: Path, table: str
) -> None:
    rows = [{**post, "md5": "0" * 32} for post in posts()]
    names = [f"{post['id']}.webp" for post in POSTS]
    files = {name: pixels(n, "webp") for n, name in enumerate(names)}
    files[table] = parquet(rows) if table.endswith("parquet") else lines(rows)
    found = of_files(tmp_path, files, root)
    used(found, names)
    assert found.format == "booru"


def deepghs(inner: str = "", folder: str = "images") -> dict[str, bytes]:
    """As danbooru2024 is downloaded: tars, an index beside each, and one table of posts."""
    files: dict[str, bytes] = {"README.md": b"---\nlicense: other\n---\n"}
    for part in (0, 1):
        members = {
            f"{inner}{POSTS[n]['id']}.webp": pixels(n, "webp") for n in EVERY if n % 2 == part
        }
        index = {name: {"offset": 512, "size": len(data)} for name, data in members.items()}
        files[f"{folder}/{part:04}.tar"] = tar(members)
        files[f"{folder}/{part:04}.json"] = json.dumps(
            {"filesize": 1, "hash": "0", "hash_lfs": "0", "files": index}
        ).encode()
    return files | {"metadata.parquet": parquet([{**post, "md5": "0" * 32} for post in posts()])}


@pytest.mark.parametrize("inner", ["", "webp/"])
@pytest.mark.parametrize("folder", ["images", "data/full/original"])
def test_deepghs_rows_join_the_members_of_tars(
    tmp_path: Path, root: Path, inner: str, folder: str
) -> None:
    found = of_files(tmp_path, deepghs(inner, folder), root)
    used(found, [f"{folder}/{n % 2:04}.tar::{inner}{POSTS[n]['id']}.webp" for n in EVERY])
    assert found.format == "booru"
    unread = f"not read: {folder}/0000.json, {folder}/0001.json (it neither holds nor names images"
    assert unread in found.notes


@pytest.mark.parametrize("layout", ["booru", "mixed"])
def test_rows_join_the_members_of_tars_when_the_layout_is_stated(
    tmp_path: Path, root: Path, layout: str
) -> None:
    assert len(of_files(tmp_path, deepghs(), root, layout).tags) == len(POSTS)


def test_rows_that_name_files_join_the_members_of_tars(tmp_path: Path, root: Path) -> None:
    rows = [{"file_name": f"{n}.png", "text": f"1girl, number_{n}"} for n in range(3)]
    files = {"metadata.jsonl": lines(rows)}
    files["train/0.tar"] = tar({f"{n}.png": pixels(n) for n in range(3)} | {"2.txt": b"beside"})
    found = of_files(tmp_path, files, root)
    assert found.reasons == {}
    assert set(found.tags) == {f"train/0.tar::{n}.png" for n in range(3)}
    assert "number_0" in found.tags["train/0.tar::0.png"]


def test_danbooru_2021_has_its_tables_in_another_folder(tmp_path: Path, root: Path) -> None:
    numbers = {"general": "0", "artist": "1", "copyright": "3", "character": "4", "meta": "5"}
    rows = [
        {
            "id": str(post["id"]),
            "md5": "f" * 32,
            "rating": post["rating"],
            "tags": [
                {"id": "1", "name": tag, "category": numbers[kind]}
                for kind in numbers
                for tag in str(post[kind]).split()
            ],
        }
        for post in POSTS
    ]
    names = [f"512px/{post['id'] % 1000:04}/{post['id']}.jpg" for post in POSTS]
    files = {name: pixels(n, "jpg") for n, name in enumerate(names)}
    files["metadata/posts000000000000.json"] = lines(rows)
    files["metadata/tags000000000000.json"] = b'{"id": "1", "name": "1girl", "category": "0"}'
    found = of_files(tmp_path, files, root)
    assert found.reasons == {}
    tags = [sorted(tag for _, tag in classes_of(n)) for n in EVERY]
    assert found.tags == dict(zip(names, tags, strict=True))
    assert "not read: metadata/tags000000000000.json" in found.notes


def test_simple_tuners_table_of_ids_and_tags_is_read(tmp_path: Path, root: Path) -> None:
    rows = [
        {"id": post["id"], "width": 80, "tags": post["general"], "class_label": "x"}
        for post in POSTS
    ]
    files = {f"{post['id']}.png": pixels(n) for n, post in enumerate(POSTS)}
    found = of_files(tmp_path, files | {"photo-concept-bucket.parquet": parquet(rows)}, root)
    assert found.reasons == {}
    assert found.tags["9000001.png"] == ["1girl", "red_hair", "solo"]
    assert len(found.tags) == len(POSTS)


def test_an_md5_or_id_in_several_names_finds_none(tmp_path: Path, root: Path) -> None:
    rows = posts()[:2]
    files = {f"{copy}_{md5(0)}.png": pixels(copy) for copy in range(2)}
    files |= {f"{copy} {POSTS[1]['id']} x.png": pixels(copy + 2) for copy in range(2)}
    found = of_files(tmp_path, files | {"posts.jsonl": lines(rows)}, root)
    assert found.tags == {}
    assert sorted(found.reasons.values()) == ["missing_image"] * 2 + ["no_tags"] * 4


def test_a_number_in_a_word_or_a_hash_is_no_id(tmp_path: Path, root: Path) -> None:
    rows = [{"id": n, "tag_string": "wrong"} for n in (1, 2, 123456)]
    digest = "123456" + "abcdef0123" * 2 + "abcdef"
    files = {"a 1girl.png": pixels(0), f"b_{digest}.png": pixels(1), "posts.jsonl": lines(rows)}
    assert of_files(tmp_path, files, root).tags == {}


def test_of_two_ids_in_a_name_the_longer_is_meant(tmp_path: Path, root: Path) -> None:
    rows = [{"id": 2, "tag_string": "wrong"}, {"id": 9000001, "tag_string": "right"}]
    files = {"yande.re 9000001 2 girls.png": pixels(0), "posts.jsonl": lines(rows)}
    found = of_files(tmp_path, files, root)
    assert found.tags == {"yande.re 9000001 2 girls.png": ["right"]}


def test_a_tars_own_files_hold_its_tags_where_a_table_names_no_image(
    tmp_path: Path, root: Path
) -> None:
    """img2dataset with a booru's columns: the table beside a tar is what the JSON in it says."""
    members, rows = {}, []
    for n, post in enumerate(POSTS):
        key = f"{n:09}"
        row = {"url": "https://example.org/x.png", "key": key, "status": "success"}
        row |= {k: v for k, v in strings(post).items() if k not in ("id", "tag_string")}
        members |= {f"{key}.jpg": pixels(n, "jpg"), f"{key}.json": json.dumps(row).encode()}
        rows.append(row)
    files = {"00000.tar": tar(members), "00000.parquet": parquet(rows)}
    files["00000_stats.json"] = b'{"count": 7, "successes": 6, "status_dict": {"success": 6}}'
    found = of_files(tmp_path, files, root)
    assert found.format == "webdataset"
    assert found.reasons == {}
    assert found.classes == {f"00000.tar::{n:09}.jpg": classes_of(n) for n in EVERY}
    assert "not read: 00000.parquet, 00000_stats.json (" in found.notes


def test_a_table_whose_rows_find_nothing_costs_nothing_where_all_have_tags(
    tmp_path: Path, root: Path
) -> None:
    files = {"a/x.png": pixels(0), "a/x.txt": b"1girl", "b.parquet": parquet(posts())}
    found = of_files(tmp_path, files, root)
    assert found.reasons == {}
    assert found.format == "folder"
    assert "b.parquet (none of its 6 rows finds an image)" in found.notes


def test_a_single_tar_is_read_without_what_lies_beside_it(tmp_path: Path, root: Path) -> None:
    of_files(tmp_path, deepghs(), root)
    found = outcome(tmp_path / "source/images/0000.tar", root)
    assert set(found.reasons.values()) == {"no_tags"}
