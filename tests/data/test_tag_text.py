"""Tag files of many kinds become booru tags with classes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.tag_text import CLASSES, TagsFileError, normalise_tag, parse_tag_file


def names(text: str, file: str = "x.txt") -> list[str]:
    return [name for name, _ in parse_tag_file(text.encode(), file).tags]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1girl, red hair , Smile", ["1girl", "red_hair", "smile"]),
        ("1girl red_hair smile", ["1girl", "red_hair", "smile"]),
        ("1girl\nred_hair\n", ["1girl", "red_hair"]),
        ("long hair\nblue eyes", ["long_hair", "blue_eyes"]),
        ("long hair\r\n\r\nblue eyes\r\n", ["long_hair", "blue_eyes"]),
        ("\n 1girl red_hair smile \r\n", ["1girl", "red_hair", "smile"]),
        ("blue eyes,\n", ["blue_eyes"]),
        ("red hair,\nblue   eyes,\r\nsolo", ["red_hair", "blue_eyes", "solo"]),
        ("solo, solo, SOLO", ["solo"]),
        ("^_^, :d, re:zero, o_o", ["^_^", ":d", "re:zero", "o_o"]),
        (r"saber \(fate\)", ["saber", "(fate)"]),
        (r"saber \(fate\), solo", ["saber_(fate)", "solo"]),
        ("\ufeff1girl, so\x00lo, \u200bsmile", ["1girl", "solo", "smile"]),
        (" , ,, _ ,", []),
        ("", []),
    ],
)
def test_text_is_split_and_normalised(text: str, expected: list[str]) -> None:
    assert names(text) == expected


def test_prefixes_name_classes_and_other_colons_do_not() -> None:
    tags = parse_tag_file(b"artist:Some One, char:saber, rating:safe, :d, meta:, copyright:x", "x")
    assert tags.tags == (
        ("some_one", "artist"),
        ("saber", "character"),
        ("rating:safe", "meta"),
        (":d", ""),
        ("meta:", ""),
        ("x", "copyright"),
    )


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"tags": ["1girl", "Red Hair"]}, [("1girl", ""), ("red_hair", "")]),
        ({"tags": "1girl, artist:x", "id": 7}, [("1girl", ""), ("x", "artist")]),
        (["a", {"name": "b", "class": "artist"}], [("a", ""), ("b", "artist")]),
        ({"general": ["a"], "artist": ["b"], "md5": "0"}, [("a", "general"), ("b", "artist")]),
        (
            {"tag_string_general": "a b", "tag_string_character": "c", "score": 3},
            [("a", "general"), ("b", "general"), ("c", "character")],
        ),
        ({"tags": {"general": ["a"], "meta": []}}, [("a", "general")]),
    ],
)
def test_json_of_several_shapes_is_read(value: object, expected: list[tuple[str, str]]) -> None:
    assert list(parse_tag_file(json.dumps(value).encode(), "x.JSON").tags) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"caption": "1girl, artist:x", "text": "no"}, [("1girl", ""), ("x", "artist")]),
        ({"tags": "", "caption": "a, b"}, [("a", ""), ("b", "")]),
        ({"tags": ["a", "b"], "caption": "no"}, [("a", ""), ("b", "")]),
        ({"tag_string": "a b", "tag_string_meta": "", "tag_string_artist": "b"},
         [("a", ""), ("b", "artist")]),
        ({"tag_string": "a b"}, [("a", ""), ("b", "")]),
        ({"tags": {"general": ["a"], "species": ["b"], "lore": ["c"]}},
         [("a", "general"), ("b", "general"), ("c", "meta")]),
        ({"tags_artist": "x", "tags_general": "a b"},
         [("x", "artist"), ("a", "general"), ("b", "general")]),
        # What a model thinks of the rating, under the name of a class.
        ({"general": 0.93, "text": "a, b"}, [("a", ""), ("b", "")]),
        ({"id": 7}, []),
    ],
)  # fmt: skip
def test_rows_of_metadata_files_are_read(row: object, expected: list[tuple[str, str]]) -> None:
    found = parse_tag_file(json.dumps(row).encode(), "posts.jsonl#000001")
    assert list(found.tags) == expected


@pytest.mark.parametrize(
    ("value", "rating", "score", "record_id"),
    [
        ({"rating": "s", "score": 5, "id": 12, "tags": "a"}, "sensitive", 5, "12"),
        (
            {"rating": "Explicit", "score": {"total": -3}, "id": "x1", "tags": ""},
            "explicit",
            -3,
            "x1",
        ),
        ({"rating": "g", "score": "17", "tags": "rating:explicit"}, "general", 17, None),
        ({"tags": "a, rating:q"}, "questionable", None, None),
        ({"rating": None, "score": True, "id": False, "tags": "a"}, None, None, None),
        ({"rating": 3, "score": float("nan"), "id": [1], "tags": "a"}, "explicit", None, None),
        (["a", "b"], None, None, None),
    ],
)
def test_rating_score_and_id_are_kept(
    value: object, rating: str | None, score: int | None, record_id: str | None
) -> None:
    found = parse_tag_file(json.dumps(value).encode(), "x.json")
    assert (found.rating, found.score, found.record_id) == (rating, score, record_id)
    assert parse_tag_file(b"1girl, rating:safe", "x.txt").rating == "safe"


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        ("señora".encode("latin-1"), "x.txt", "byte 2 of the tag file is not UTF-8"),
        (b'{"tags": [', "x.json", "the tag file is not JSON: Expecting value"),
        (b"[" * 100_000, "x.json", "the tag file is not JSON"),
        (b"7", "x.json", "tags are a list in the tag file, not int"),
        (b'{"tags": [["a"]]}', "x.json", "a tag in the tag file is neither text nor a name"),
        (b'{"width": 7}', "x.json", 'neither "tags" nor a list per class'),
        (b"a" * 2_000_000, "x.txt", "the tag file has more than 1,048,576 bytes"),
    ],
)
def test_a_file_that_cannot_be_understood_says_why(data: bytes, name: str, message: str) -> None:
    with pytest.raises(TagsFileError, match=message):
        parse_tag_file(data, name)


def test_utf16_with_a_byte_order_mark_is_read() -> None:
    assert parse_tag_file("1girl, 猫".encode("utf-16"), "x.txt").tags == (("1girl", ""), ("猫", ""))


def test_malformed_tags_are_counted_as_written() -> None:
    sentence = "a girl with long red hair stands " * 5
    found = parse_tag_file(f"1girl, red hair, Smile, {sentence}, solo, solo".encode(), "x.txt")
    assert (found.written, found.well_formed) == (6, 4)


def test_a_lone_surrogate_from_json_does_not_survive() -> None:
    assert names('["a\\ud800b"]', "x.json") == ["ab"]


@settings(max_examples=300, deadline=None)
@given(st.text())
def test_normalised_tags_are_stable_and_fit_into_captions(text: str) -> None:
    tag = normalise_tag(text)
    assert normalise_tag(tag) == tag
    assert "," not in tag
    assert not any(c.isspace() for c in tag)
    tag.encode()


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400), st.sampled_from(["x.txt", "x.json"]))
def test_no_bytes_break_the_parser(data: bytes, name: str) -> None:
    try:
        found = parse_tag_file(data, name)
    except TagsFileError:
        return
    assert len(found.tags) <= found.written
    assert 0 <= found.well_formed <= found.written
    assert all(tag and kind in ("", *CLASSES) for tag, kind in found.tags)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["tags", "general", "name", "class", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(JSON_VALUES)
def test_no_json_value_breaks_the_parser(value: object) -> None:
    try:
        found = parse_tag_file(json.dumps(value).encode(), "x.json")
    except TagsFileError:
        return
    assert len({tag for tag, _ in found.tags}) == len(found.tags)
