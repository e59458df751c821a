"""JSON beside images: captioners, taggers with confidences, Hydrus, waifuc, img2dataset.

Files with a booru's columns are made by img2dataset's own writers (1.47.0). Forms of the others:
its `key.json` without them, waifuc's `SaveExporter`
(a hidden `.x_meta.json`), imgutils' `get_wd14_tags` ({tag: score} by class), the web interface's
tagger ([ratings, tags]), Hydrus' JSON sidecars (under keys of the user's own), captioners.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.data.sources.datasets import tar
from tests.data.sources.writers.posts import (
    CLASSES,
    POSTS,
    WORDS,
    Files,
    Post,
    expected,
    holds_all,
    js,
    png,
    read,
    sidecars,
)
from tests.support.other_environments import run_in

from nadir.data.tag_text import parse_tag_file


@pytest.mark.parametrize("key", ["caption", "text", "prompt"])
def test_captions_in_json(tmp_path: Path, root: Path, key: str) -> None:
    files = sidecars("{}", ".json", lambda post: js({key: ", ".join(post.general), "width": 9}))
    result = read(tmp_path / "source", files, root)
    assert result.tags == [list(post.general) for post in POSTS]


def test_hydrus_json_under_the_user_s_own_keys(tmp_path: Path, root: Path) -> None:
    def meta(post: Post) -> bytes:
        tags = [*post.general, *(f"creator:{tag}" for tag in post.artist)]
        return js({"metadata": {"mine": {"tags": tags, "urls": ["http://example.org/1"]}}})

    result = read(tmp_path / "source", sidecars("{}", ".png.json", meta), root)
    for number, post in enumerate(POSTS):
        found = result.classes(number)
        assert (found["general"], found.get("artist", set())) == (
            set(post.general),
            set(post.artist),
        )


def test_waifuc_s_hidden_files(tmp_path: Path, root: Path) -> None:
    def meta(post: Post) -> bytes:
        danbooru = {"id": post.id, "rating": post.rating, "tag_string": " ".join(post.tags)}
        own = {"tags": dict.fromkeys(post.tags, 1.0), "filename": f"danbooru_{post.id}.png"}
        return js({"danbooru": danbooru | post.strings, "group_id": "x", **own})

    files = {f"danbooru_{post.id}.png": png(post.id) for post in POSTS}
    files |= {f".danbooru_{post.id}_meta.json": meta(post) for post in POSTS}
    result = read(tmp_path / "source", files, root)
    holds_all(result)
    assert result.listing.notes == ()


def test_waifuc_s_hidden_files_on_s3(s3: Any, bucket: str) -> None:
    from nadir.data.sources.detect import open_source

    for name in ("x.png", ".x_meta.json", ".y_meta.json/z.png", ".other.json"):
        s3.put_object(Bucket=bucket, Key=f"w/{name}", Body=b"{}")
    listing = open_source(f"s3://{bucket}/w", "auto").list_images()
    assert listing.table.column("tags_path").to_pylist() == [".x_meta.json"]
    assert listing.notes == ("not listed: 2 hidden",)


def test_confidences_count_as_tags(tmp_path: Path, root: Path) -> None:
    def meta(post: Post) -> bytes:
        scores = {kind: dict.fromkeys(post.of(kind), 0.9) for kind in CLASSES}
        return js({"rating": {WORDS[post.rating]: 0.9, "general": 0.1}, **scores})

    holds_all(read(tmp_path / "a", sidecars("{}", ".json", lambda p: with_id(meta(p), p)), root))

    def pair(post: Post) -> bytes:
        return js([{WORDS[post.rating]: 0.8, "safe": 0.01}, dict.fromkeys(post.general, 0.9)])

    result = read(tmp_path / "b", sidecars("{}", ".json", pair), root)
    assert result.tags == [list(post.general) for post in POSTS]
    assert result.ratings == [WORDS[post.rating] for post in POSTS]


def with_id(data: bytes, post: Post) -> bytes:
    return js(json.loads(data) | {"id": str(post.id)})


def img2dataset(post: Post, key: str, *, extra: bool) -> dict[str, Any]:
    value = {
        "url": f"https://example.org/{post.id}.png",
        "caption": ", ".join(post.tags),
        "key": key,
        "status": "success",
        "error_message": None,
        "width": 64,
        "height": 64,
        "exif": "{}",
        "sha256": "0" * 64,
    }
    return value | ({"id": post.id, "rating": post.rating, **post.strings} if extra else {})


def shard(*, extra: bool, texts: int = 6) -> Files:
    members: Files = {}
    for number, post in enumerate(POSTS):
        key = f"{number:09d}"
        meta = img2dataset(post, key, extra=extra)
        members |= {f"{key}.json": js(meta), f"{key}.png": png(post.id)}
        if number < texts:
            members[f"{key}.txt"] = str(meta["caption"]).encode()
    return members


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders `tar` and `files` as img2dataset writes them, with a booru's further columns."""
    folder = tmp_path_factory.mktemp("img2dataset")
    samples = []
    for number, post in enumerate(POSTS):
        (folder / f"{number}.png").write_bytes(png(post.id))
        meta = img2dataset(post, f"{number:09d}", extra=True)
        sample = {"image": str(folder / f"{number}.png"), "meta": meta}
        samples.append(sample | {name: meta[name] for name in ("key", "caption")})
    (folder / "samples.json").write_bytes(js(samples))
    script = Path(__file__).with_name("run_img2dataset.py")
    run_in("img2dataset", script, str(folder / "samples.json"), str(folder / "out"))
    return folder / "out"


@pytest.mark.parametrize("layout", ["auto", "stated"])
@pytest.mark.parametrize("form", ["tar", "files"])
def test_img2dataset_s_text_and_json_are_one_sample(
    written: Path, root: Path, form: str, layout: str
) -> None:
    if layout == "stated":
        layout = {"tar": "webdataset", "files": "folder"}[form]
    holds_all(read(written / form, {}, root, layout))
    found = read(written / form, {}, root, layout, exclude_ratings=("explicit",))
    assert [path[-13:] for path in found.reasons] == ["000000003.png"]


def test_img2dataset_without_further_columns(tmp_path: Path, root: Path) -> None:
    files = {"00000.tar": tar(shard(extra=False, texts=4)), "00000_stats.json": js({"count": 6})}
    result = read(tmp_path / "source", files, root)
    assert result.tags == [post.tags for post in POSTS]


def test_a_sentence_of_img2dataset_does_not_hide_the_tags(tmp_path: Path, root: Path) -> None:
    members = shard(extra=True)
    members["000000000.txt"] = b"A girl with a red scarf, smiling at the camera in winter"
    result = read(tmp_path / "source", {"00000.tar": tar(members)}, root)
    assert result.classes(0) == expected(POSTS[0])


DANBOORU = {"general": 0, "artist": 1, "copyright": 3, "character": 4, "meta": 5}
E621 = {"general": 0, "artist": 1, "copyright": 3, "character": 4, "meta": 7}


@pytest.mark.parametrize("numbers", [DANBOORU, E621], ids=["danbooru", "e621"])
@pytest.mark.parametrize("form", [str, int, float, lambda number: f"{number}.0"])
@pytest.mark.parametrize("keys", [("name", "category"), ("tag", "type"), ("name", "class")])
def test_classes_as_numbers(numbers: dict[str, int], form: Any, keys: tuple[str, str]) -> None:
    post = Post(1, "g", ("a",), ("b",), ("c",), ("d",), ("e",))
    pairs = [(tag, form(numbers[kind])) for kind in CLASSES for tag in post.of(kind)]
    if numbers is E621:
        pairs += [("f", form(5)), ("g", form(8)), ("h", form(6)), ("i", form(2))]
    value = {"tags": [dict(zip(keys, pair, strict=True)) for pair in pairs]}
    found = dict(parse_tag_file(js(value), "x.json").tags)
    further = {"f": "general", "g": "meta", "i": "artist"} if numbers is E621 else {}
    assert found == dict(zip("abcde", CLASSES, strict=True)) | further


@pytest.mark.parametrize("as_row", [True, False])
@pytest.mark.parametrize(
    "odd",
    [
        {"series": {"id": 1, "title": "x"}},
        {"copyright": 5},
        {"meta": None},
        {"character": True},
        {"artist": {"name": "x", "id": 2}},
        {"species": {"a": 1}},
        {"general": 0.93},
        {"meta": {"prompt": "1girl"}},
        {"tags_general": 7},
        {"character": [[1], {"x": 2}, 5]},
        {"tag_string_artist": ["pen", 7, None][1:]},
        {"lore": False},
    ],
)
def test_a_value_of_another_type_costs_nothing(odd: dict[str, Any], as_row: bool) -> None:
    name = "posts.jsonl#000001" if as_row else "x.json"
    for value in ({"tags": ["1girl", "hat"], **odd}, {**odd, "tags": "1girl hat"}):
        assert parse_tag_file(js(value), name).tags == (("1girl", ""), ("hat", ""))


@pytest.mark.parametrize(
    ("value", "expected_tags"),
    [
        ({"tags": [["1girl", 0.98], ["hat", 0.5]]}, {"1girl": "", "hat": ""}),
        ({"tags": ["1girl", None, 2021]}, {"1girl": "", "2021": ""}),
        ({"tags": {"1girl": "0.98", "hat": 1}}, {"1girl": "", "hat": ""}),
        ({"tags": {"1girl": True, "hat": False}}, {"1girl": ""}),
        ({"tags": {"general": {"a": 0.5}, "character": {"b": 1}}},
         {"a": "general", "b": "character"}),
        ({"tags": {"general": ["a"], "studio": ["b"], "x": {"artist": ["c"]}}},
         {"a": "general", "b": "", "c": "artist"}),
        ({"tags": {"artist": "a b", "general": "c", "slug": "d"}},
         {"a": "artist", "b": "artist", "c": "general"}),
        ([{"id": 7, "tag_string": "a", "tag_string_artist": "a"}], {"a": "artist"}),
        ({"Tags": ["a"], "Artist": ["b"]}, {"a": "", "b": "artist"}),
        ({"tags": ["some_one", "a"], "artist": "Some One"}, {"some_one": "artist", "a": ""}),
        ({"tags": ["a"], "artist": "Some One"}, {"a": "", "some_one": "artist"}),
        ({"tags": ["x", "y"], "character": "x y"}, {"x": "character", "y": "character"}),
        ({"tags": ["a"], "studio": ["b"], "circle": ["c"], "sources": ["d"], "pools": ["e"]},
         {"a": "", "b": "", "c": ""}),
        ({"tags": "a b", "search_tags": "c", "locked_tags": ["d"]}, {"a": "", "b": ""}),
        ({"tags": "a b", "tags_invalid": "b"}, {"a": ""}),
        ({"general": ["a"], "character": ["a"]}, {"a": "character"}),
        ({"character": ["a"], "general": ["a"]}, {"a": "character"}),
        ({"tags": ["artist:a"], "tags_character": ["a"]}, {"a": "character"}),
        ({"post": {"tag_string": "a", "parent": {"tag_string": "b"}}, "children": {"tags": ["c"]}},
         {"a": ""}),
        ({"tags": [{"label": "a", "score": 0.9}, {"name": "b", "type": "metadata"}]},
         {"a": "", "b": "meta"}),
        ({"tags": [{"names": ["a", "aa"], "category": {"name": "artist"}}]}, {"a": "artist"}),
        ({"tags": "['a', 'b c']", "artist": '["d"]'}, {"a": "", "b_c": "", "d": "artist"}),
        ({"tags": "{'general': ['a'], 'artist': ['b']}"}, {"a": "general", "b": "artist"}),
        ({"tags": "[smile], {hat}, ['"}, {"smile": "", "hat": "", "['": ""}),
        ({"tags": "a", "series": "21859", "artist": "https://example.org/x"}, {"a": ""}),
        ({"tags": {"general": ["a"], "rating": ["explicit"]}}, {"a": "general"}),
        ({"tags_by_kind": {"artist": ["a"], "general": {"b": 0.5}}},
         {"a": "artist", "b": "general"}),
        ({"tags": [{"name": "a", "category": 5}], "category": "yandere"}, {"a": ""}),
        ({"tags": [{"name": "a", "category": 5}], "category": "e621"}, {"a": "general"}),
        ({"tags": [{"name": "explicit", "category": 9}, {"name": "a", "category": 0}]},
         {"a": "general"}),
    ],
)  # fmt: skip
def test_shapes_of_lists(value: Any, expected_tags: dict[str, str]) -> None:
    assert dict(parse_tag_file(js(value), "x.json").tags) == expected_tags


@pytest.mark.parametrize(
    ("value", "rating"),
    [
        ({"rating": 0}, "general"),
        ({"rating": 3.0}, "explicit"),
        ({"rating": "2"}, "questionable"),
        ({"rating": 4}, None),
        ({"rating": True}, None),
        ({"rating": "rating:explicit"}, "explicit"),
        ({"rating": "R-18G"}, "explicit"),
        ({"rating": {"general": 0.2, "explicit": "0.7"}}, "explicit"),
        ({"rating": {"name": "questionable"}}, "questionable"),
        ({"rating": ["explicit"]}, "explicit"),
        ({"rating": {"stars": 5}}, None),
        ({"rating": "s"}, "sensitive"),
        ({"rating": "s", "category": "danbooru"}, "sensitive"),
        ({"rating": "s", "category": "sankaku"}, "safe"),
        ({"rating": "S", "category": "E621"}, "safe"),
        ({"rating": "s", "file_url": "https://files.yande.re/image/x.png"}, "safe"),
        ({"rating": "s", "file": {"url": "https://static1.e621.net/data/x.png"}}, "safe"),
        ({"rating": "s", "file_url": "https://e621.example.org.evil/x"}, "sensitive"),
        ({"rating": "s", "is_shown_in_index": True}, "safe"),
        ({"x_restrict": 1}, "explicit"),
        ({"tags_rating": "explicit"}, "explicit"),
        ({"tags": {"general": ["a"], "rating": {"safe": 0.1, "explicit": 0.6}}}, "explicit"),
        ({"rating": "", "tags": ["a", "rating:q"]}, "questionable"),
        ({"tags": [{"name": "explicit", "category": "9"}]}, "explicit"),
        ({"tags": {"1girl": 0.9, "explicit": 0.8, "general": 0.1}}, "explicit"),
    ],
)
def test_ratings_of_json(value: dict[str, Any], rating: str | None) -> None:
    given = {"tags": ["a"]} | value
    assert parse_tag_file(js(given), "x.json").rating == rating
    assert parse_tag_file(js(given), "x.jsonl#000001").rating == rating
