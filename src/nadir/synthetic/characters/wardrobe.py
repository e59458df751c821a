"""How often people look how, and the recurring characters."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from nadir.synthetic.chance import Chooser, zipf
from nadir.synthetic.characters.looks import Look
from nadir.synthetic.characters.props import RAISED
from nadir.synthetic.palette import CLOTH, EYES, HAIR

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_HAIR_COLOURS = zipf(list(HAIR), 0.4)
_EYE_COLOURS = zipf(list(EYES), 0.8)
_CLOTH_COLOURS = zipf(list(CLOTH), 0.7)
_GIRL_HAIR = zipf(
    ["long_hair", "short_hair", "twintails", "ponytail", "bob_cut", "medium_hair",
    "twin_braids", "double_bun",
     "side_ponytail", "low_twintails", "very_long_hair", "hair_bun", "drill_hair"],
     0.9)  # fmt: skip
_BOY_HAIR = {"short_hair": 0.62, "spiked_hair": 0.3, "medium_hair": 0.05, "ponytail": 0.03}
_BANGS = {
    "": 0.45,
    "blunt_bangs": 0.2,
    "swept_bangs": 0.18,
    "parted_bangs": 0.12,
    "messy_hair": 0.05,
}
_BOY_BANGS = {"messy_hair": 0.5, "": 0.3, "swept_bangs": 0.15, "parted_bangs": 0.05}
_SKINS = {"": 0.84, "pale_skin": 0.04, "tan": 0.07, "dark_skin": 0.05}
_MOODS = {
    "smile": 0.46,
    "closed_mouth": 0.2,
    "open_mouth": 0.16,
    "frown": 0.1,
    "surprised": 0.03,
    ":3": 0.03,
    "angry": 0.02,
}
_EXTRAS = {"blush": 0.3, "closed_eyes": 0.08, "one_eye_closed": 0.03, "tears": 0.012,
"wide-eyed": 0.01, "fang": 0.008,
           "tongue_out": 0.006, "star-shaped_pupils": 0.0015,
           "heart-shaped_pupils": 0.001}  # fmt: skip
_FEATURES = {"ahoge": 0.09, "pointy_ears": 0.014}
_GIRL_GARMENTS = zipf(
    ["dress", "serafuku", "sweater", "sundress", "hoodie", "shirt", "kimono", "coat",
    "overalls", "maid_apron",
     "cape", "suit", "armor"], 0.95)  # fmt: skip
_BOY_GARMENTS = zipf(
    ["shirt", "hoodie", "sweater", "suit", "overalls", "coat", "kimono", "cape", "armor"], 1.2
)
_LEGWEAR = {"": 0.5, "socks": 0.25, "kneehighs": 0.15, "thighhighs": 0.1}
_GIRL_ACCESSORIES = zipf(
    ["", "hair_ribbon", "glasses", "hair_bow", "cat_ears", "hair_flower", "straw_hat",
    "hairband", "hairclip",
     "headphones", "witch_hat", "beanie", "rabbit_ears", "scarf", "star_hair_ornament",
     "choker", "fox_ears",
     "maid_headdress", "tiara", "angel_wings", "halo", "sunglasses", "horns", "fairy_wings",
     "santa_hat", "bat_wings",
     "eyepatch", "crown", "propeller_hair_ornament", "top_hat"], 1.15)  # fmt: skip
_BOY_ACCESSORIES = zipf(
    ["", "glasses", "headphones", "beanie", "scarf", "straw_hat", "cat_ears", "sunglasses",
    "top_hat", "horns",
     "eyepatch", "santa_hat", "crown", "halo", "bat_wings"], 1.4)  # fmt: skip
_POSES = {
    "": 0.5,
    "waving": 0.13,
    "hands_on_hips": 0.1,
    "arms_behind_back": 0.08,
    "v": 0.06,
    "arms_up": 0.05,
    "holding": 0.08,
}
_PROPS = zipf(
    [
        "balloon",
        "book",
        "bouquet",
        "teddy_bear",
        "cup",
        "heart",
        "lollipop",
        "kitten",
        "apple",
        "wand",
        "sparkler",
    ],
    0.9,
)

CHARACTERS: dict[str, Look] = {
    "polaris_(nadir)": Look(
        hair_colour="white_hair", hair_style="long_hair", bangs="blunt_bangs", eyes="blue_eyes",
        garment="cape",
        garment_colour="blue", accessories=("star_hair_ornament",), accent="black"),
    "mira_(nadir)": Look(
        hair_colour="red_hair", hair_style="twintails", eyes="green_eyes", garment="dress",
        garment_colour="black",
        accessories=("hair_ribbon",), accent="white"),
    "rigel_(nadir)": Look(
        girl=False, hair_colour="blue_hair", hair_style="spiked_hair", bangs="messy_hair",
        eyes="yellow_eyes",
        garment="hoodie", garment_colour="orange", bottom="shorts", bottom_colour="black",
        accessories=("headphones",), accent="red"),
    "vega_(nadir)": Look(
        hair_colour="purple_hair", hair_style="bob_cut", bangs="swept_bangs",
        eyes="purple_eyes", garment="dress",
        garment_colour="purple", accessories=("witch_hat",), accent="black"),
    "juno_(nadir)": Look(
        hair_colour="blonde_hair", hair_style="double_bun", eyes="red_eyes", skin="tan",
        garment="kimono",
        garment_colour="green", accent="yellow"),
    "zenith_(nadir)": Look(
        hair_colour="aqua_hair", hair_style="very_long_hair", bangs="parted_bangs",
        eyes="pink_eyes",
        features=("pointy_ears",), garment="sundress", garment_colour="white",
        accessories=("halo", "angel_wings"),
        accent="aqua"),
}  # fmt: skip
"""Recurring characters, most frequent first: what is always the same about them."""

_NAMES = zipf(list(CHARACTERS), 1.7, total=0.13)


def sample_look(
    chooser: Chooser, *, girl: bool, may_hold: bool = True, taken: Collection[str] = ()
) -> Look:
    """One person by chance; some are recurring characters.

    Args:
        chooser: The source of chance.
        girl: Girl or boy.
        may_hold: Whether there is room for gestures and things in the hands.
        taken: Names of recurring characters that are in the picture already.
    """
    own = {
        name: share
        for name, share in _NAMES.items()
        if CHARACTERS[name].girl == girl and name not in taken
    }
    name = chooser.pick({"": 1 - sum(own.values()), **own})
    look = CHARACTERS[name] if name else _stranger(chooser, girl=girl)
    pose = chooser.pick(_POSES) if may_hold else ""
    prop = ""
    if may_hold and (pose == "holding" or chooser.wants_any(_PROPS)):
        prop = chooser.pick(_PROPS)
        pose = "holding_up" if prop in RAISED else "holding"
    mood = chooser.pick(_MOODS)
    extras = chooser.some(_EXTRAS)
    if "closed_eyes" in extras:
        extras = tuple(
            tag for tag in extras if not tag.endswith(("pupils", "wide-eyed", "one_eye_closed"))
        )
    return replace(look, name=name, pose=pose, prop=prop, expression=(mood, *extras))


def _stranger(chooser: Chooser, *, girl: bool) -> Look:
    garment, colour = _coloured(chooser, _GIRL_GARMENTS if girl else _BOY_GARMENTS)
    bottom, bottom_colour = _bottom(chooser, garment, girl=girl)
    accessories = _accessories(chooser, girl=girl)
    if garment == "maid_apron":
        accessories = ("maid_headdress",)
    accent = chooser.rng.choices(list(_CLOTH_COLOURS), list(_CLOTH_COLOURS.values()))[0]
    if accent == colour:
        accent = "white" if colour != "white" else "red"
    return Look(
        girl=girl,
        skin=chooser.pick(_SKINS),
        hair_colour=chooser.pick(_HAIR_COLOURS),
        hair_style=chooser.pick(_GIRL_HAIR if girl else _BOY_HAIR),
        bangs=chooser.pick(_BANGS if girl else _BOY_BANGS),
        eyes=chooser.pick(_EYE_COLOURS),
        features=chooser.some(_FEATURES),
        garment=garment,
        garment_colour=colour,
        bottom=bottom,
        bottom_colour=bottom_colour,
        legwear=chooser.pick(_LEGWEAR) if girl else "",
        accessories=accessories,
        accent=accent,
    )  # fmt: skip


def _accessories(chooser: Chooser, *, girl: bool) -> tuple[str, ...]:
    first = chooser.pick(_GIRL_ACCESSORIES if girl else _BOY_ACCESSORIES)
    if not first:
        return ()
    with_glasses = first not in {"glasses", "sunglasses", "eyepatch"} and chooser.chance(
        "glasses", 0.06
    )
    tail = first == "cat_ears" and chooser.chance("cat_tail", 0.5)
    return (first, *(("glasses",) if with_glasses else ()), *(("cat_tail",) if tail else ()))


def _coloured(chooser: Chooser, garments: Mapping[str, float]) -> tuple[str, str]:
    garment = chooser.pick(garments, offers=lambda name: {name, *(f"{c}_{name}" for c in CLOTH)})
    if garment in {"serafuku", "armor"}:
        return garment, "white" if garment == "serafuku" else "grey"
    colour = chooser.pick(_CLOTH_COLOURS, offers=lambda name: {f"{name}_{garment}"})
    return garment, colour


def _bottom(chooser: Chooser, garment: str, *, girl: bool) -> tuple[str, str]:
    if garment in {"dress", "sundress", "kimono", "coat", "cape", "maid_apron", "overalls"}:
        return "", chooser.pick(_CLOTH_COLOURS)
    kinds = {"skirt": 0.75, "shorts": 0.15, "pants": 0.1} if girl else {"shorts": 0.5, "pants": 0.5}
    if garment == "serafuku":
        kinds = {"skirt": 1.0}
    elif garment == "suit":
        kinds = {"pants": 1.0}
    bottom = chooser.pick(kinds, offers=lambda name: {name, *(f"{c}_{name}" for c in CLOTH)})
    colours = (
        {"blue": 0.5, "black": 0.3, "red": 0.12, "green": 0.08}
        if garment == "serafuku"
        else _CLOTH_COLOURS
    )
    return bottom, chooser.pick(colours, offers=lambda name: {f"{name}_{bottom}"})
