"""What several files say about one image is put together; no text breaks anything on the way."""

from __future__ import annotations

import itertools
import json
import random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.data.sources.datasets import write

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.sources.detect import open_source
from nadir.data.tag_text import (
    CLASSES,
    TagsFileError,
    normalise_tag,
    parse_sources,
    parse_tag_file,
    read_tag,
)
from nadir.data.tags.captions import render_caption

if TYPE_CHECKING:
    from pathlib import Path

TEXT = ("hat, Mio (Harbour)", "x.txt")
POST = (
    json.dumps(
        {"id": 7, "rating": "e", "score": 3, "tags": ["hat", "sea"], "character": ["mio_(harbour)"]}
    ),
    "x.json",
)
ROW = (json.dumps({"rating": "g", "artist": "pen", "tags": "hat pen"}), "posts.jsonl#000001")


def together(*sources: tuple[str, str]) -> list[object]:
    found = parse_sources([(text.encode(), name) for text, name in sources])
    return [dict(found.tags), found.rating, found.score, found.record_id]


def test_the_list_is_the_text_s_and_the_facts_are_the_json_s() -> None:
    assert together(TEXT, POST) == [{"hat": "", "mio_(harbour)": "character"}, "explicit", 3, "7"]
    assert together(TEXT, ROW, POST) == [
        {"hat": "", "mio_(harbour)": "character"}, "general", 3, "7"
    ]  # fmt: skip
    assert together(("hat, pen", "x.txt"), ROW) == [
        {"hat": "", "pen": "artist"}, "general", None, None
    ]  # fmt: skip
    # The text's own rating where nothing else gives one.
    assert together(("hat, rating:q", "x.txt"), ('{"score": 1}', "x.json"))[1] == "questionable"


def test_without_tags_in_the_text_the_list_is_the_json_s() -> None:
    for text in ("", " , ,\n", "source:x, title:y"):
        assert together((text, "x.txt"), POST) == together(POST)
    assert together(("A hat by the sea.", "x.txt"), POST) == together(POST)
    captions = parse_sources([(b"A hat by the sea.", "x.caption"), (POST[0].encode(), "x.json")])
    assert captions.captions == (("caption", "A hat by the sea."),)


@pytest.mark.parametrize("other", ['{"width": 3}', "[]", "7", "null", '{"shapes": [{"x": 1}]}'])
def test_json_without_tags_does_no_harm_beside_a_text(other: str) -> None:
    assert together(TEXT, (other, "x.json"))[0] == {"hat": "", "mio_(harbour)": ""}
    with pytest.raises(TagsFileError):
        parse_tag_file(b"7", "x.json")


def test_json_that_is_broken_costs_the_image_and_long_json_does_not() -> None:
    # Its rating is lost with it.
    with pytest.raises(TagsFileError, match="not JSON"):
        together(TEXT, ('{"rating": "e"', "x.json"))
    annotation = json.dumps({"imageData": "x" * (1 << 20)})
    assert together(TEXT, (annotation, "x.json"))[0] == {"hat": "", "mio_(harbour)": ""}


def test_what_lies_beside_an_image_is_listed_in_a_fixed_order(tmp_path: Path) -> None:
    names = ["x.json", "x.caption", "x.png.txt", "x.txt", "x.tags", ".x_meta.json", "y.TXT"]
    files = dict.fromkeys([*names, "x.png", "y.png", "z.png"], b"a, b")
    source = open_source(str(write(tmp_path, files)), "auto")
    rows = {row["path"]: row for row in source.list_images().table.to_pylist()}
    assert rows["x.png"]["tags_path"] == "x.tags"
    more = [each["path"] for each in rows["x.png"]["more_tags"]]
    assert more == ["x.png.txt", "x.caption", "x.json", ".x_meta.json"]
    assert (rows["y.png"]["tags_path"], rows["y.png"]["more_tags"]) == ("y.TXT", None)
    assert (rows["z.png"]["tags_path"], rows["z.png"]["more_tags"]) == (None, None)


NAMES = ["x.txt", "x.caption", "x.tags", "x.json", "posts.jsonl#000001"]
WORDS = st.sampled_from(
    ["1girl", "mio", "a b", "artist:mio", "&lt;mio", r"\(mio\)", "(mio:1.2)", "rating:e", "|||", ""]
)


@settings(max_examples=200, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=5), st.dictionaries(
    st.sampled_from(["tags", *CLASSES, "tags_studio", "tag_string_invalid", "rating"]),
    st.lists(WORDS, max_size=3) | WORDS, max_size=5))  # fmt: skip
def test_a_tag_s_class_does_not_depend_on_the_order_of_files_and_keys(
    words: list[str], lists: dict[str, object]
) -> None:
    text = (", ".join(words).encode(), "x.txt")
    found = []
    for keys in itertools.islice(itertools.permutations(lists), 6):
        record = (json.dumps({key: lists[key] for key in keys}).encode(), "x.json")
        for order in ([text, record], [record, text]):
            try:
                found.append(dict(parse_sources(order).tags))
            except TagsFileError:
                return
    for one in found:
        for tag, kind in one.items():
            assert all(other.get(tag, kind) == kind for other in found)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.sampled_from("&amp;lt#039x\\()[]{}|:,._ 12AÄ\u0130\u200b\n")))
def test_decoding_is_idempotent(text: str) -> None:
    tag = normalise_tag(text)
    assert normalise_tag(tag) == tag
    # As captions escape them.
    assert normalise_tag(tag.replace("(", "\\(").replace(")", "\\)")) == tag
    again = read_tag(text)
    assert again == "" or read_tag(again.replace("(", "\\(")) in (again, read_tag(again))


TEXTS = st.text(max_size=60) | st.text(
    alphabet=st.sampled_from("ab(){}[]|;:,\\&#<>_ 1.\n\r\ue000\ue001\0"), max_size=60
)


@settings(max_examples=300, deadline=None)
@given(TEXTS, TEXTS, st.sampled_from(NAMES), st.integers(0, 3))
def test_from_any_text_to_a_caption_nothing_raises(
    first: str, second: str, name: str, seed: int
) -> None:
    params = read_section("train", TrainParams).caption
    as_json = json.dumps({"tags": second, "artist": first, "rating": first, "caption": [second]})
    is_json = name.endswith((".json", "1"))
    sources = [(first.encode("utf-8", "ignore"), "x.txt")]
    sources.append(((as_json if is_json else second).encode("utf-8", "ignore"), name))
    found = parse_sources(sources)
    assert len({tag for tag, _ in found.tags}) == len(found.tags)
    assert all(tag and kind in ("", *CLASSES) for tag, kind in found.tags)
    caption = render_caption(found.tags, params, random.Random(seed))
    assert "\n" not in caption
    caption.encode()


@pytest.mark.parametrize(
    "text",
    ["&amp;" * 200_000, "&#38;" * 200_000, "(" * 500_000, "(a:" * 300_000, "{a|" * 300_000,
     "{a|b}" * 200_000, "{" * 250_000 + "|" + "}" * 250_000, "\\" * 1_000_000, "[" * 1_000_000,
     "((a)" * 250_000, "(a:1)" * 200_000, "|||" * 300_000, "(a(b)" * 200_000, "\n,a" * 300_000,
     "(" + "a:" * 400_000, "(" * 400_000 + "ab" + ")" * 400_000],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    parse_tag_file(text.encode()[: 1 << 20], "x.txt")
    parse_tag_file(json.dumps({"tags": text[: 1 << 18]}).encode(), "x.json")


@pytest.mark.parametrize(
    ("date", "year"),
    [
        ("2023-01-02T03:04:05.000-05:00", 2023),
        ("Sat Aug 05 01:01:01 -0500 2023", 2023),
        (1314963000, 2011),
        ("1314963000", 2011),
        ({"json_class": "Time", "s": 1314963000, "n": 0}, 2011),
        ("yesterday", None),
        (7, None),
        (True, None),
        ("0000-00-00", None),
        ("٢٠٢٣-01", None),
        (1e400, None),
        (None, None),
    ],
    ids=str,
)
def test_the_year_of_a_post_is_read_however_it_is_written(date: object, year: int | None) -> None:
    data = json.dumps({"tags": "hat", "score": "12", "created_at": date}).encode()
    assert (parse_tag_file(data, "a.json").year, parse_tag_file(data, "a.json").score) == (year, 12)
    beside = parse_sources([(b"hat, red_hair", "a.txt"), (data, "a.json")])
    assert (beside.year, beside.score) == (year, 12)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("my style, hat ||| 1girl, smile", 2),
        ("long hair ||| 1girl", 1),
        ("||| 1girl, hat", 0),
        ("1girl, hat |||", 2),
        ("1girl, hat", None),
        ("1girl, ||||, hat", None),
        ("a, b, a ||| c ||| d", 2),
    ],
)
def test_tags_before_the_mark_are_counted(text: str, kept: int | None) -> None:
    assert parse_tag_file(text.encode(), "a.txt").kept == kept
    record = json.dumps({"tags": "hat smile", "rating": "s"}).encode()
    assert parse_sources([(text.encode(), "a.txt"), (record, "a.json")]).kept == kept
    for key in ("tags", "caption"):
        assert parse_tag_file(json.dumps({key: text}).encode(), "a.json").kept == kept


@pytest.mark.parametrize(
    ("text", "is_sentence"),
    [("A girl in a park, smiling.", True), ("1girl, smile", False), ("red hair, A girl", False)],
)
def test_a_sentence_without_tags_beside_it_is_kept_whole(text: str, is_sentence: bool) -> None:
    kept = [text] if is_sentence else []
    alone = parse_tag_file(text.encode(), "a.txt")
    row = parse_tag_file(json.dumps({"text": text}).encode(), "a.json")
    assert [found for _, found in alone.captions] == [found for _, found in row.captions] == kept
    # And its tags are what they were.
    assert alone.tags == row.tags != ()
