"""Which pictures there are, and how often."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.synthetic.chance import Chooser, zipf
from nadir.synthetic.characters.creatures import CREATURES
from nadir.synthetic.characters.looks import ASPECTS, Look, Scene
from nadir.synthetic.characters.wardrobe import CHARACTERS, sample_look
from nadir.synthetic.scenes.backgrounds import PATTERNS
from nadir.synthetic.scenes.scenery import PLACES
from nadir.synthetic.styles import ARTISTS

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

_AREA_PX = 256 * 256
_SIDES_PX = (160, 400)

_BACKGROUNDS = {
    "black_background": 0.12, "white_background": 0.125, "blue_background": 0.05,
    "red_background": 0.05,
    "green_background": 0.036, "pink_background": 0.036, "yellow_background": 0.036,
    "grey_background": 0.03,
    "purple_background": 0.02, "orange_background": 0.01, "aqua_background": 0.008,
    "brown_background": 0.004,
    **zipf(list(PATTERNS), 1.0, total=0.045), **zipf(list(PLACES), 1.15, total=0.43),
}  # fmt: skip
_CASTS = {
    "1girl": 0.645,
    "1boy": 0.19,
    "no_humans": 0.075,
    "2girls": 0.05,
    "1boy,1girl": 0.025,
    "2boys": 0.01,
    "3girls": 0.0025,
}
_ARTISTS = zipf(list(ARTISTS), 0.8)
_CREATURES = {"": 0.3, **zipf(list(CREATURES), 1.1, total=0.7)}
_FRAMINGS = {
    "wide": {"upper_body": 0.42, "portrait": 0.53, "full_body": 0.05},
    "square": {"upper_body": 0.4, "portrait": 0.45, "full_body": 0.1, "cowboy_shot": 0.05},
    "tall": {"upper_body": 0.4, "portrait": 0.2, "full_body": 0.2, "cowboy_shot": 0.2},
}
_EFFECTS = {
    "black_background": {"dark": 0.4, "silhouette": 0.08},
    "white_background": {"silhouette": 0.04, "monochrome": 0.05},
    "grey_background": {"monochrome": 0.1},
    "starry_sky": {"silhouette": 0.07},
    "sunset": {"silhouette": 0.12},
    "rain": {"monochrome": 0.1},
}
"""What may happen to whole pictures, by background, and how often."""
_AREAS = {"": 0.955, "highres": 0.15, "lowres": 0.02, "absurdres": 0.008}
_SCALES = {"": 1.0, "highres": 1.45, "lowres": 0.5, "absurdres": 2.2}


def background_tags(background: str) -> set[str]:
    """The tags a background brings."""
    if background in PLACES:
        return {background, *PLACES[background]}
    return {background, "simple_background"}


def sample_scene(
    rng: random.Random, wanted: Iterable[str] = (), *, size: tuple[int, int] | None = None
) -> Scene:
    """One scene by chance.

    Args:
        rng: The source of chance; equal states give equal scenes.
        wanted: Tags that the scene should have, where the generator knows them.
        size: Width and height in pixels; by chance when left out.
    """
    chooser = Chooser(rng, wanted)
    for name in chooser.wanted & CHARACTERS.keys():
        chooser.wanted |= {"1girl" if CHARACTERS[name].girl else "1boy"}
    resolution = chooser.pick(_AREAS)
    cast = chooser.pick(_CASTS, offers=lambda name: set(name.split(",")))
    crowd = "," in cast or cast[0] in "23"
    width, height = size or _size(chooser, resolution, widest_only=crowd)
    background = chooser.pick(_BACKGROUNDS, offers=_background_offers)
    meta, effects = _treatment(chooser, background, () if size or not resolution else (resolution,))
    if "sketch" in meta:
        background = "white_background"
    people = _people(chooser, cast)
    creature = _creature(chooser) if cast == "no_humans" else ""
    if cast == "no_humans" and not creature and background not in PLACES:
        creature = next(iter(CREATURES))
    return Scene(
        width=width,
        height=height,
        artist=chooser.pick(_ARTISTS),
        people=people,
        creature=creature,
        background=background,
        framing=_framing(chooser, width / height, background, len(people)),
        effects=effects,
        meta=meta,
        seed=rng.getrandbits(48),
    )


def _size(chooser: Chooser, resolution: str, *, widest_only: bool) -> tuple[int, int]:
    weights = zipf([str(index) for index in range(len(ASPECTS))], 0.75)
    fits = [index for index, (w, h) in enumerate(ASPECTS) if w >= 0.8 * h or not widest_only]
    across, down = ASPECTS[chooser.rng.choices(fits, [weights[str(index)] for index in fits])[0]]
    width = math.sqrt(_AREA_PX * _SCALES[resolution] * across / down)
    height = width * down / across
    grow = max(1.0, _SIDES_PX[0] / min(width, height))
    shrink = min(1.0, _SIDES_PX[1] / max(width, height))
    factor = grow if grow > 1 else shrink
    return round(width * factor), round(height * factor)


def _treatment(
    chooser: Chooser, background: str, meta: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if chooser.chance("sketch", 0.012):
        return (*meta, "sketch"), ()
    for effect, share in _EFFECTS.get(background, {}).items():
        if chooser.chance(effect, share):
            return meta, (effect,)
    if background != "white_background" and chooser.chance("jpeg_artifacts", 0.01):
        return (*meta, "jpeg_artifacts"), ()
    return meta, ()


def _background_offers(background: str) -> set[str]:
    return background_tags(background) | _EFFECTS.get(background, {}).keys()


def _creature(chooser: Chooser) -> str:
    return chooser.pick(_CREATURES, offers=lambda name: {name or "scenery"})


def _people(chooser: Chooser, cast: str) -> tuple[Look, ...]:
    girls = {"1girl": 1, "2girls": 2, "3girls": 3, "1boy,1girl": 1}.get(cast, 0)
    boys = {"1boy": 1, "2boys": 2, "1boy,1girl": 1}.get(cast, 0)
    alone = girls + boys == 1
    people: list[Look] = []
    for girl in [True] * girls + [False] * boys:
        taken = {look.name for look in people}
        people.append(sample_look(chooser, girl=girl, may_hold=alone, taken=taken))
    return tuple(people)


def _framing(chooser: Chooser, aspect: float, background: str, count: int) -> str:
    if not count:
        return ""
    if count > 1:
        return chooser.pick({"full_body": 0.5, "upper_body": 0.5})
    shape = "tall" if aspect < 0.72 else "wide" if aspect > 1.2 else "square"
    table = dict(_FRAMINGS[shape])
    if background == "black_background":
        # Small figures leave pictures that are dark as a whole, which is what has to be learnt.
        table["full_body"] *= 2
    return chooser.pick(table)
