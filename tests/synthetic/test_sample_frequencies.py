from __future__ import annotations

import random
from collections import Counter

import pytest

from nadir.data.vocabulary import load_vocabulary
from nadir.synthetic.characters.looks import ASPECTS, Scene
from nadir.synthetic.characters.wardrobe import CHARACTERS
from nadir.synthetic.palette import BACKGROUND
from nadir.synthetic.sampling import sample_scene
from nadir.synthetic.styles import ARTISTS
from nadir.synthetic.tags import scene_tags

_IMAGES = 2000


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [sample_scene(random.Random(f"nadir-sample:0:{index}")) for index in range(_IMAGES)]


@pytest.fixture(scope="module")
def counts(scenes: list[Scene]) -> Counter[str]:
    return Counter(tag for scene in scenes for tag in scene_tags(scene))


def test_every_tag_is_in_the_shipped_vocabulary(counts: Counter[str]) -> None:
    assert set(counts) <= {tag for tag, _ in load_vocabulary()}


def test_no_picture_has_a_tag_twice(scenes: list[Scene]) -> None:
    for scene in scenes:
        tags = scene_tags(scene)
        assert len(tags) == len(set(tags))


def test_artists_characters_and_meta_tags_have_their_class() -> None:
    classes = dict(load_vocabulary())
    assert {classes[name] for name in ARTISTS} == {"artist"}
    assert {classes[name] for name in CHARACTERS} == {"character"}
    assert classes["highres"] == classes["sketch"] == classes["absurdres"] == "meta"


def test_three_artists_draw_and_recurring_characters_appear(counts: Counter[str]) -> None:
    assert len(ARTISTS) == 3
    assert all(counts[name] > _IMAGES / 10 for name in ARTISTS)
    assert sum(counts[name] for name in CHARACTERS) > _IMAGES / 20


def test_black_and_white_backgrounds_are_well_represented(counts: Counter[str]) -> None:
    assert 0.09 < counts["black_background"] / _IMAGES < 0.15
    assert 0.10 < counts["white_background"] / _IMAGES < 0.16


def test_other_plain_colours_fill_a_quarter_and_places_more(counts: Counter[str]) -> None:
    colours = sum(counts[name] for name in BACKGROUND) - sum(
        counts[name] for name in ("black_background", "white_background")
    )
    assert 0.2 < colours / _IMAGES < 0.33
    assert 1 - counts["simple_background"] / _IMAGES > 0.35


def test_dark_subjects_before_black_are_common_enough_to_learn(counts: Counter[str]) -> None:
    assert counts["dark"] > _IMAGES * 0.03


def test_tag_frequencies_fall_like_zipf_and_have_a_rare_tail(counts: Counter[str]) -> None:
    ranked = [count for _, count in counts.most_common()]
    assert ranked[0] > 20 * ranked[len(ranked) // 2]
    assert sum(count <= 5 for count in ranked) >= 20
    assert len(ranked) > 300


def test_there_are_at_least_twelve_aspect_ratios(scenes: list[Scene]) -> None:
    shapes = Counter(
        min(ASPECTS, key=lambda shape: abs(shape[0] / shape[1] - scene.width / scene.height))
        for scene in scenes
    )
    assert sum(count >= 10 for count in shapes.values()) >= 12
    for scene in scenes:
        error = min(abs(scene.width / scene.height - w / h) for w, h in ASPECTS)
        assert error < 0.02


def test_sides_stay_between_160_and_400_pixels(scenes: list[Scene]) -> None:
    assert min(min(scene.width, scene.height) for scene in scenes) >= 160
    assert max(max(scene.width, scene.height) for scene in scenes) <= 400


def test_a_recurring_character_appears_only_once_in_a_picture(scenes: list[Scene]) -> None:
    for scene in scenes:
        names = [look.name for look in scene.people if look.name]
        assert len(names) == len(set(names))


def test_colours_are_not_tagged_where_nobody_can_see_them(scenes: list[Scene]) -> None:
    for scene in scenes:
        if {"monochrome", "silhouette"} & set(scene.effects) or "sketch" in scene.meta:
            hair = {look.hair_colour for look in scene.people}
            assert hair.isdisjoint(scene_tags(scene))
