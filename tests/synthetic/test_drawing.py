from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageChops

from nadir.synthetic import draw_scene
from nadir.synthetic.characters import accessories, hair, props
from nadir.synthetic.characters.creatures import CREATURES
from nadir.synthetic.characters.looks import Look, Scene
from nadir.synthetic.draw import draw
from nadir.synthetic.files import FORMATS, encode
from nadir.synthetic.palette import BACKGROUND, HAIR, Colour
from nadir.synthetic.scenes.backgrounds import PATTERNS
from nadir.synthetic.scenes.scenery import PLACES
from nadir.synthetic.styles import ARTISTS

_WORN = sorted({*accessories._FRONT, *accessories._BEHIND})
_PLAIN = Scene(width=120, height=160, artist="inkwell_otter", people=(Look(),), framing="full_body")


def _with(**changes: object) -> Scene:
    return replace(_PLAIN, people=(replace(Look(), **changes),))  # type: ignore[arg-type]


def _border(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return np.concatenate([pixels[0], pixels[:, 0], pixels[:, -1]])


def _differ(first: Scene, second: Scene) -> float:
    """Share of pixels that differ visibly."""
    gap = ImageChops.difference(draw(first), draw(second)).convert("L")
    return float((np.asarray(gap) > 16).mean())


def test_drawing_a_scene_twice_gives_the_same_pixels() -> None:
    first, second = (draw_scene(random.Random(4)) for _ in range(2))
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1] == second[1]


@pytest.mark.parametrize("name", list(BACKGROUND))
def test_plain_backgrounds_are_one_exact_colour(name: str) -> None:
    image = draw(replace(_PLAIN, background=name))
    assert (_border(image) == BACKGROUND[name]).all()


@pytest.mark.parametrize("ending", list(FORMATS))
@pytest.mark.parametrize(("name", "value"), [("black_background", 0), ("white_background", 255)])
def test_black_and_white_survive_every_file_format(
    ending: str, name: str, value: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scene = replace(_PLAIN, width=200, height=256, background=name)
    path = tmp_path_factory.mktemp("exact") / f"picture.{ending}"
    path.write_bytes(encode(draw(scene), ending, scene=scene))
    with Image.open(path) as image:
        assert (_border(image.convert("RGB")) == value).all()


def test_dark_subjects_before_black_make_dark_pictures() -> None:
    wishes = ("1girl", "dark", "black_background")
    lights = []
    for seed in range(8):
        image, tags = draw_scene(random.Random(seed), wishes, size=(96, 96))
        assert set(wishes) <= set(tags)
        lights.append(np.asarray(image.convert("L")).mean() / 255)
    assert max(lights) < 0.15


def test_the_outer_ring_of_a_white_picture_is_mostly_white() -> None:
    shares = []
    for seed in range(12):
        wishes = ("1girl", "white_background", "upper_body")
        image, _ = draw_scene(random.Random(seed), wishes, size=(100, 100))
        pixels = np.asarray(image).min(axis=2)
        ring = np.ones_like(pixels, dtype=bool)
        ring[10:-10, 10:-10] = False
        shares.append((pixels[ring] > 250).mean())
    assert np.mean(shares) > 0.8


@pytest.mark.parametrize(
    "wishes",
    [
        ("1girl", "red_hair", "smile", "black_background"),
        ("1girl", "blue_hair", "white_background"),
        ("1boy", "green_hair", "outdoors", "grass"),
        ("1girl", "pink_hair", "night", "starry_sky"),
        ("rigel_(nadir)", "sunset"),
        ("no_humans", "scenery", "rainbow"),
        ("sketch", "2girls"),
    ],
)
def test_wished_tags_are_drawn_and_named(wishes: tuple[str, ...]) -> None:
    for seed in range(4):
        _, tags = draw_scene(random.Random(seed), wishes, size=(80, 80))
        assert set(wishes) <= set(tags)


@pytest.mark.parametrize(("name", "tone"), list(HAIR.items()))
def test_hair_has_the_colour_of_its_tag(name: str, tone: Colour) -> None:
    pixels = np.asarray(draw(_with(hair_colour=name))).astype(int)
    near = np.abs(pixels - np.array(tone)).max(axis=2) < 12
    assert near.mean() > 0.04


@pytest.mark.parametrize("name", _WORN)
def test_every_accessory_can_be_seen(name: str) -> None:
    assert _differ(_with(), _with(accessories=(name,))) > 0.002


@pytest.mark.parametrize("name", list(props._PROPS))
def test_every_prop_can_be_seen(name: str) -> None:
    pose = "holding_up" if name in props.RAISED else "holding"
    assert _differ(_with(pose=pose), _with(pose=pose, prop=name)) > 0.002


@pytest.mark.parametrize("name", [*hair._BACK, "double_bun", "hair_bun", "twin_braids"])
def test_every_hair_style_differs_from_the_one_without_any_hair_behind(name: str) -> None:
    if name != "short_hair":
        assert _differ(_with(), _with(hair_style=name)) > 0.002


@pytest.mark.parametrize("name", [*PLACES, *PATTERNS])
def test_every_place_and_pattern_fills_the_whole_picture(name: str) -> None:
    for size in ((160, 80), (80, 160)):
        empty = Scene(*size, artist="ember_fox", background=name, seed=5)
        image = draw(empty)
        assert image.size == size
        assert len(image.getcolors(maxcolors=1 << 16) or []) >= 2
        corners = [image.getpixel((x, y)) for x in (0, size[0] - 1) for y in (0, size[1] - 1)]
        assert (255, 255, 255) not in corners


@pytest.mark.parametrize("name", list(CREATURES))
def test_every_creature_is_drawn_clear_of_the_border(name: str) -> None:
    scene = replace(_PLAIN, people=(), creature=name, framing="", background="blue_background")
    image = draw(scene)
    assert (_border(image) == BACKGROUND["blue_background"]).all()
    assert (np.asarray(image) != BACKGROUND["blue_background"]).any(axis=2).mean() > 0.1


def test_the_artists_hands_can_be_told_apart() -> None:
    names = list(ARTISTS)
    for first, second in zip(names, [*names[1:], names[0]], strict=True):
        gap = _differ(replace(_PLAIN, artist=first), replace(_PLAIN, artist=second))
        assert gap > 0.05


def test_a_silhouette_has_one_tone_only() -> None:
    scene = replace(_PLAIN, effects=("silhouette",))
    pixels = np.asarray(draw(scene)).reshape(-1, 3)
    inner = np.unique(pixels[(pixels < 40).all(axis=1)], axis=0)
    assert len(inner) <= 4


def test_edges_are_anti_aliased() -> None:
    scene = replace(_PLAIN, effects=("silhouette",))
    grey = np.asarray(draw(scene).convert("L"))
    between = ((grey > 60) & (grey < 220)).mean()
    assert 0.005 < between < 0.2
