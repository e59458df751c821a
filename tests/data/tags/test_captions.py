"""Captions: classes in order, draws from the given source only."""

from __future__ import annotations

import json
import random
import unicodedata

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadir.config.caption import AS_BEFORE, TAG_GROUPS, CaptionParams
from nadir.data.tables import CAPTION_LIST, TAG_LIST
from nadir.data.tag_text import parse_sources, parse_tag_file
from nadir.data.tags.captions import AboutImage, render_caption
from nadir.data.tags.written import write_prompt

TAGS = [
    ("highres", "meta"),
    ("red_hair", "general"),
    ("smile", "general"),
    ("some_artist", "artist"),
    ("safe", "rating"),
    ("original", "copyright"),
    ("1girl", "general"),
    ("miku", "character"),
    ("^_^", "general"),
]


def params(**changes: object) -> CaptionParams:
    values = {
        "drop_all": 0.0,
        "drop_tag": 0.0,
        "shuffle": True,
        "underscores": "keep",
        "token_chunks": 1,
    }
    return CaptionParams.model_validate(AS_BEFORE | values | changes)


def test_without_a_source_of_chance_nothing_is_dropped_or_shuffled() -> None:
    caption = render_caption(TAGS, params(drop_all=1.0, drop_tag=1.0), None)
    assert caption == ("1girl, miku, original, some_artist, red_hair, smile, ^_^, safe, highres")


def test_shuffling_stays_within_classes() -> None:
    captions = {render_caption(TAGS, params(), random.Random(seed)) for seed in range(50)}
    general = {tuple(caption.split(", ")[4:7]) for caption in captions}
    assert len(general) == 6
    assert all(caption.startswith("1girl, miku, original, some_artist, ") for caption in captions)
    assert all(caption.endswith(", safe, highres") for caption in captions)


def test_an_equal_seed_gives_an_equal_caption() -> None:
    first = render_caption(TAGS, params(drop_tag=0.5), random.Random(7))
    assert first == render_caption(TAGS, params(drop_tag=0.5), random.Random(7))


def test_tags_and_whole_captions_are_dropped_as_often_as_asked() -> None:
    rng, dropping = random.Random(0), params(drop_all=0.1, drop_tag=0.25)
    rendered = [render_caption(TAGS, dropping, rng) for _ in range(4000)]
    empty = sum(not caption for caption in rendered) / 4000
    kept = sum(caption.count(",") + 1 for caption in rendered if caption)
    assert abs(empty - 0.1) < 0.02
    assert abs(kept / (4000 * 0.9 * len(TAGS)) - 0.75) < 0.02


def test_underscores_become_spaces_except_in_faces() -> None:
    tags = [("red_hair", "general"), ("^_^", "general"), ("o_o", "general"), ("赤い_髪", "general")]
    assert render_caption(tags, params(underscores="space"), None) == "red hair, ^_^, o_o, 赤い 髪"


def test_people_counts_come_first_only_as_general_tags() -> None:
    tags = [("solo", "artist"), ("6+girls", "general"), ("2boys", "general"), ("hat", "general")]
    assert render_caption(tags, params(), None) == "6+girls, 2boys, solo, hat"


def test_no_tags_give_an_empty_caption() -> None:
    assert render_caption([], params(), random.Random(0)) == ""


WRITTEN = [
    ("1girl, red_hair", "1girl, red_hair", "1girl, red hair"),
    ("1girl, red hair", "1girl, red_hair", "1girl, red hair"),
    ("1Girl,Red Hair ,", "1girl, red_hair", "1girl, red hair"),
    (r"saber \(fate\), ^_^", "saber_(fate), ^_^", "saber (fate), ^_^"),
    ("artist:someone, series:a_show", "someone, a_show", "someone, a show"),
    ("rating:explicit, re:zero", "rating:explicit, re:zero", "rating:explicit, re:zero"),
    (unicodedata.normalize("NFD", "é_clair"), "é_clair", "é clair"),
    ("1girl\nsmile", "1girl, smile", "1girl, smile"),
    ("", "", ""),
    (" , _", "", ""),
]


@pytest.mark.parametrize(("asked", "kept", "spaced"), WRITTEN)
def test_prompts_take_the_form_that_tags_had_in_training(
    asked: str, kept: str, spaced: str
) -> None:
    assert write_prompt(asked, params()) == kept
    assert write_prompt(asked, params(underscores="space")) == spaced
    # And what has that form already stays.
    assert write_prompt(kept, params()) == kept
    assert write_prompt(spaced, params(underscores="space")) == spaced


@pytest.mark.parametrize("underscores", ["keep", "space"])
def test_a_prompt_asks_for_what_a_tag_file_of_the_same_text_taught(underscores: str) -> None:
    text = r"Red Hair, saber \(fate\), Artist:Some One, CHAR:miku, ^_^, re:zero"
    tags = [(name, "general") for name, _ in parse_tag_file(text.encode(), "a.txt").tags]
    form = params(underscores=underscores)
    assert write_prompt(text, form) == render_caption(tags, form, None)


SENTENCE = AboutImage(sentences=["A {red|blue} hat,\n on a {chair|table}."])
ALONE = {"tags": 0.0, "sentence": 0.0, "tags_sentence": 0.0, "sentence_tags": 0.0}
FEW = [("1girl", "general"), ("hat", "general"), ("miku", "character")]


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("tags", "1girl, miku, hat"),
        ("sentence", "A red hat, on a chair."),
        ("tags_sentence", "1girl, miku, hat, A red hat, on a chair."),
        ("sentence_tags", "A red hat, on a chair. 1girl, miku, hat"),
    ],
)
def test_a_caption_has_the_form_that_is_asked_for(form: str, expected: str) -> None:
    asked = params(forms=ALONE | {form: 0.3})
    assert render_caption(FEW, asked, None, SENTENCE) == expected
    # What an image lacks its caption lacks.
    assert render_caption(FEW, asked, None) == "1girl, miku, hat"
    assert render_caption([], asked, None, SENTENCE) == "A red hat, on a chair."
    assert render_caption([], asked, None) == ""


def test_forms_and_options_are_drawn_by_their_shares() -> None:
    asked, rng = (
        params(forms=ALONE | {"tags": 1.0, "sentence": 3.0}, shuffle=False),
        random.Random(1),
    )
    drawn = [render_caption(FEW, asked, rng, SENTENCE) for _ in range(4000)]
    sentences = [caption for caption in drawn if caption.startswith("A ")]
    assert abs(len(sentences) / 4000 - 0.75) < 0.03
    assert len({*sentences}) == 4
    assert abs(sum("blue" in caption for caption in sentences) / len(sentences) - 0.5) < 0.03
    assert {*drawn} - {*sentences} == {"1girl, miku, hat"}


def test_classes_stand_in_the_order_that_is_asked_for() -> None:
    order = ("meta", "general", "quality", "artist", "people", "other", "character", "copyright")
    asked = params(order=order, quality={"good": 0.5}, shuffle=False)
    about = AboutImage(words={"quality": "good"})
    assert render_caption(TAGS, asked, None, about) == (
        "highres, red_hair, smile, ^_^, good, some_artist, 1girl, safe, miku, original"
    )
    # A word that the image has as a tag is not written twice.
    twice = render_caption([("good", "general")], asked, None, about)
    assert twice == "good"


def test_kept_tags_stand_first_whatever_is_dropped_or_shuffled() -> None:
    about, rng = AboutImage(kept=[("smile", "general"), ("highres", "meta")]), random.Random(0)
    asked = params(drop_tag=0.9, drop_class={"meta": 1.0})
    drawn = {render_caption(TAGS, asked, rng, about) for _ in range(50)}
    assert len(drawn) > 3
    assert all(caption.startswith("smile, highres") for caption in drawn)
    assert all(caption.count("smile") == 1 for caption in drawn)


def test_classes_are_dropped_as_a_whole_and_protected_tags_never() -> None:
    asked = params(drop_tag=0.5, drop_class={"general": 0.5}, protected=("smile",))
    rng = random.Random(0)
    drawn = [render_caption(TAGS, asked, rng).split(", ") for _ in range(2000)]
    assert all("smile" in caption for caption in drawn)
    # Half of the time the class is there, and then half of the time the tag.
    assert abs(sum("red_hair" in caption for caption in drawn) / 2000 - 0.25) < 0.03
    both = sum("red_hair" in caption or "^_^" in caption for caption in drawn) / 2000
    assert abs(both - 0.5 * 0.75) < 0.03
    always = params(drop_class={"artist": 1.0, "meta": 0.9})
    assert "some_artist" not in render_caption(TAGS, always, None)
    assert "highres" in render_caption(TAGS, always, None)


def test_prefix_and_suffix_surround_all_captions_but_the_empty_one() -> None:
    asked = params(prefix="my style", suffix="end", shuffle=False)
    assert render_caption(FEW, asked, None) == "my style, 1girl, miku, hat, end"
    dropping = params(prefix="my style", suffix="end", drop_all=1.0)
    assert render_caption(FEW, dropping, random.Random(0)) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"order": TAG_GROUPS[1:]}, "must name each class of tags \\(people\\)"),
        ({"order": (*TAG_GROUPS, "meta")}, "twice"),
        ({"order": (*TAG_GROUPS, "quality")}, "go together"),
        ({"quality": {"good": 0.5}}, "go together"),
        ({"drop_class": {"year": 0.5}}, "only facts that order names"),
        ({"forms": ALONE}, "above 0"),
        ({"keep_first": "some"}, "keep_first"),
    ],
    ids=str,
)
def test_a_grammar_that_does_not_agree_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        params(**changes)


ASKED = [
    # weights, brackets, escapes, prefixes
    ("(Red Hair:1.2), ((smile)), [hat]", "red_hair, smile, hat"),
    (r"(saber \(fate\):0.8), Artist:Some One", "saber_(fate), some_one"),
    # aliases
    ("redhead, Character:Hatsune Miku", "red_hair, miku"),
    # sentences
    ("A girl with Red Hair", "A girl with Red Hair"),
    ("1girl, A girl in a park, sitting.  Red Hair", "1girl, A girl in a park, sitting. red_hair"),
    ("She sits on the bench, smiling\nred hair", "She sits on the bench, smiling, red_hair"),
    ("There is a dog. It barks. 1girl", "There is a dog. It barks. 1girl"),
    # tags of many words
    ("the legend of zelda, looking at viewer", "the_legend_of_zelda, looking_at_viewer"),
    ("the_girl_who_leapt_through_time", "the_girl_who_leapt_through_time"),
    ("love live! school idol project, hat", "love_live!_school_idol_project, hat"),
]


@pytest.mark.parametrize(("prompt", "expected"), ASKED)
def test_prompts_are_read_as_tag_files_are_and_sentences_stay(prompt: str, expected: str) -> None:
    aliases = {"redhead": "red_hair", "hatsune_miku": "miku"}
    assert write_prompt(prompt, params(), aliases) == expected
    assert write_prompt(expected, params(), aliases) == expected


TEXT = st.text(max_size=120) | st.lists(
    st.sampled_from(
        [",", "|", "|||", "{", "}", "{a|b}", "(", ")", ":1.2)", "\\", "&lt;", "A girl. ", "_", "\n",
         "red hair", "artist:", "a", " ", ".", "^_^", "\0", ";;;", "[", "]"]
    )
).map("".join)  # fmt: skip


@given(TEXT, st.sampled_from([*ALONE]), st.integers(0, 9), st.sampled_from(["keep", "space"]))
def test_from_any_text_to_manifest_to_caption_and_prompt_nothing_raises(
    text: str, form: str, seed: int, underscores: str
) -> None:
    record = json.dumps({"caption": text, "tags": [text], "score": text, "created_at": text})
    found = parse_sources([(text.encode(), "a.txt"), (record.encode(), "a.json")])
    rows = [{"name": name, "class": kind} for name, kind in found.tags]
    sentences = [{"kind": kind, "text": text} for kind, text in found.captions]
    table = pa.table(
        {
            "tags": pa.array([rows], TAG_LIST),
            "captions": pa.array([sentences], CAPTION_LIST),
            "kept_tags": pa.array([found.kept], pa.int32()),
            "score": pa.array([found.score], pa.int64()),
            "year": pa.array([found.year], pa.int32()),
        }
    )
    row = table.to_pylist()[0]
    assert (row["kept_tags"] or 0) <= len(rows)
    asked = params(forms=ALONE | {form: 1.0}, drop_tag=0.3, underscores=underscores)
    tags = [(tag["name"], tag["class"]) for tag in row["tags"]]
    about = AboutImage([each["text"] for each in row["captions"]], {}, tags[: row["kept_tags"]])
    caption = render_caption(tags, asked, random.Random(seed), about)
    assert caption == render_caption(tags, asked, random.Random(seed), about)
    assert not any(letter in caption for letter in "\n\r\0")
    for prompt in (text, caption):
        assert not any(letter in write_prompt(prompt, asked) for letter in "\n\r\0")
