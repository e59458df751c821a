"""One table for all images: dumps of boorus, Hugging Face's folders, kohya's metadata.

Forms: Danbooru's dumps of 2018 to 2021 (JSON lines, ids and classes as text), e621's API and its
daily exports (CSV), Gelbooru 0.2 answers, the Danbooru metadata that HakuBooru reads (ratings 0 to
3), ImageFolder tables with lists by class, `merge_dd_tags_to_metadata.py` of sd-scripts.
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.data.sources.datasets import parquet
from tests.data.sources.writers.posts import (
    CLASSES,
    POSTS,
    WORDS,
    Files,
    expected,
    holds_all,
    js,
    png,
    read,
)

if TYPE_CHECKING:
    from pathlib import Path

SAFE = {"g": "safe", "s": "safe", "q": "questionable", "e": "explicit"}


def images(name: str = "{}.png") -> Files:
    return {name.format(post.id): png(post.id) for post in POSTS}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows).encode()


def table(rows: list[dict[str, Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def test_danbooru_s_dumps_with_numbers_for_classes(tmp_path: Path, root: Path) -> None:
    numbers = {"general": "0", "artist": "1", "copyright": "3", "character": "4", "meta": "5"}
    rows = [
        {
            "id": str(post.id),
            "score": "1",
            "md5": "f" * 32,
            "rating": post.rating,
            "tags": [
                {"id": "1", "name": tag, "category": numbers[kind]}
                for kind in CLASSES
                for tag in post.of(kind)
            ],
            "favs": ["1"],
        }
        for post in POSTS
    ]
    files = {f"512px/0{post.id % 1000:03}/{post.id}.png": png(post.id) for post in POSTS}
    holds_all(read(tmp_path / "source", files | {"metadata/posts0.json": lines(rows)}, root))


def test_e621_s_answers(tmp_path: Path, root: Path) -> None:
    posts = [
        {
            "id": post.id,
            "file": {"md5": f"{post.id:032x}", "ext": "png", "url": None},
            "score": {"up": 5, "down": -1, "total": 4},
            "tags": {kind: list(post.of(kind)) for kind in CLASSES}
            | {"species": ["fox"], "invalid": ["zz"], "lore": ["kin"], "contributor": ["pen_z"]},
            "rating": "s" if post.rating == "g" else post.rating,
        }
        for post in POSTS
    ]
    files = {f"{post.id:032x}.png": png(post.id) for post in POSTS}
    result = read(tmp_path / "source", files | {"posts.json": js({"posts": posts})}, root)
    holds_all(result, SAFE, general="fox", meta="kin", artist="pen_z")


def test_e621_s_exports(tmp_path: Path, root: Path) -> None:
    rows = [
        {
            "id": post.id,
            "md5": f"{post.id:032x}",
            "rating": "s" if post.rating == "g" else post.rating,
            "tag_string": " ".join(post.tags),
            "file_ext": "png",
            "change_seq": 9,
            "description": 'two\nlines, and a "quote"',
            "is_deleted": "f",
        }
        for post in POSTS
    ]
    files = {f"{post.id:032x}.png": png(post.id) for post in POSTS}
    result = read(tmp_path / "source", files | {"posts-2024-05-01.csv": table(rows)}, root)
    assert (result.reasons, result.ids) == ({}, [str(post.id) for post in POSTS])
    assert result.ratings == [SAFE[post.rating] for post in POSTS]


def test_gelbooru_02_answers(tmp_path: Path, root: Path) -> None:
    posts = [
        {
            "directory": 1,
            "hash": f"{post.id:032x}",
            "id": post.id,
            "image": f"{post.id}.png",
            "rating": WORDS[post.rating],
            "tags": " ".join(tag.replace(">", "&gt;").replace("<", "&lt;") for tag in post.tags),
            "score": None,
        }
        for post in POSTS
    ]
    files = images("images/{}.png") | {"posts.json": js(posts)}
    result = read(tmp_path / "source", files, root)
    assert result.tags == [post.tags for post in POSTS]
    assert (result.ratings, result.ids[0]) == ([WORDS[p.rating] for p in POSTS], "7000001")


@pytest.mark.parametrize("form", [int, float, str])
@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_ratings_as_numbers(tmp_path: Path, root: Path, form: Any, kind: str) -> None:
    rows = [
        {"id": post.id, "md5": "0" * 32, "rating": form("gsqe".index(post.rating)), **post.strings}
        for post in POSTS
    ]
    data = {"parquet": parquet, "csv": table, "jsonl": lines}[kind](rows)
    holds_all(read(tmp_path / "source", images() | {f"posts.{kind}": data}, root))


@pytest.mark.parametrize("flat", [False, True], ids=["lists", "tags and lists"])
@pytest.mark.parametrize("key", ["{}", "tags_{}", "tag_string_{}"])
def test_tables_of_hugging_face_with_lists_by_class(
    tmp_path: Path, root: Path, flat: bool, key: str
) -> None:
    rows = [
        {"file_name": f"{post.id}.png", "id": post.id, "rating": post.rating, "series": {"id": 1}}
        | {key.format(kind): list(post.of(kind)) for kind in CLASSES}
        | ({"tags": post.tags} if flat else {})
        for post in POSTS
    ]
    holds_all(read(tmp_path / "source", images() | {"metadata.parquet": parquet(rows)}, root))


def test_a_row_and_a_text_are_one_sample(tmp_path: Path, root: Path) -> None:
    rows = [
        {"file_name": f"{post.id}.png", "id": post.id, "rating": post.rating, **post.strings}
        for post in POSTS
    ]
    files = images() | {"metadata.jsonl": lines(rows), "7000001.txt": b"smile, mio (harbour), new"}
    files |= {"7000002.caption": b"A girl looks at the sea.", "7000003.json": b'{"score": 4}'}
    result = read(tmp_path / "source", files, root)
    assert result.classes(0) == {"general": {"smile", "new"}, "character": {"mio_(harbour)"}}
    assert [result.classes(number) for number in range(1, 6)] == [expected(p) for p in POSTS[1:]]
    assert result.ratings == [WORDS[post.rating] for post in POSTS]
    caption = {"kind": "caption", "text": "A girl looks at the sea."}
    assert [row["captions"] for row in result.rows] == [None, [caption], None, None, None, None]


def test_kohya_s_rows_go_before_the_texts_that_they_were_made_of(
    tmp_path: Path, root: Path
) -> None:
    entries = {
        f"{post.id}": {"caption": "a sentence about it", "tags": ", ".join(post.general)}
        for post in POSTS
    }
    files = images("train/{}.png") | {"train/meta_lat.json": js(entries)}
    files |= {f"train/{post.id}.txt": b"raw, tags" for post in POSTS}
    files |= {f"train/{post.id}.caption": b"a sentence about it" for post in POSTS}
    result = read(tmp_path / "source", files, root)
    assert result.tags == [list(post.general) for post in POSTS]
    caption = {"kind": "caption", "text": "a sentence about it"}
    assert [row["captions"] for row in result.rows] == [[caption]] * 6
