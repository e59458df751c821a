"""The pictures that every arm is trained on: one figure before a plain colour, colours by Zipf."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

from nadir.ground.files import atomic_folder
from nadir.synthetic.chance import zipf
from nadir.synthetic.characters.looks import ASPECTS
from nadir.synthetic.dataset import draw_scene

if TYPE_CHECKING:
    from pathlib import Path

COLOURS = (
    "white", "black", "red", "grey", "yellow", "blue", "green", "pink", "purple", "orange", "brown",
)  # fmt: skip
"""Of backgrounds, the most frequent first."""
LEVELS = {"black": 0.003, "red": 0.275, "grey": 0.586, "yellow": 0.838, "white": 0.996}
"""Luminance (0-1) of the five that are the steps of the ladder, measured on the pictures."""
RARE = COLOURS[-4:]
_AREA_PX = 96 * 96
_CAST = ("1girl", "solo", "simple_background")


def prompt_of(colour: str) -> str:
    """What is asked for to get a background of this colour."""
    return f"1girl, solo, {colour}_background, simple_background"


def make_pictures(folder: Path, images: int, seed: int = 0, *, noisy: float = 0.0) -> None:
    """Fill a folder with PNG files and a text file of tags beside each.

    Args:
        folder: It appears whole or not at all.
        images: How many.
        seed: Equal seeds give equal bytes.
        noisy: Share of pictures (0-1) whose background is said to have another colour.
    """
    shares = list(zipf(list(COLOURS), 1.0).values())
    with atomic_folder(folder) as new:
        for number in range(images):
            rng = random.Random(f"nadir-reproduction:{seed}:{number}")
            colour = rng.choices(COLOURS, shares)[0]
            across, down = ASPECTS[rng.randrange(len(ASPECTS))]
            width = math.sqrt(_AREA_PX * across / down)
            size = round(width), round(_AREA_PX / width)
            picture, tags = draw_scene(rng, (*_CAST, f"{colour}_background"), size=size)
            picture.save(new / f"{number:05d}.png")
            said = rng.choices(COLOURS, shares)[0] if rng.random() < noisy else colour
            told = [tag for tag in _CAST if tag in tags]
            text = ", ".join([*told, f"{said}_background"])
            (new / f"{number:05d}.txt").write_text(text + "\n", encoding="utf-8")
