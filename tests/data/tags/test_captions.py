"""Captions: classes in order, draws from the given source only."""

from __future__ import annotations

import random
import unicodedata

import pytest

from nadir.config.caption import AS_BEFORE, CaptionParams
from nadir.data.tag_text import parse_tag_file
from nadir.data.tags.captions import render_caption
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
