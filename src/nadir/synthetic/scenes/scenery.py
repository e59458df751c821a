"""Places behind people: which there are, and the tags that come with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.synthetic.canvas import Canvas, Pen
from nadir.synthetic.scenes.interiors import INTERIORS
from nadir.synthetic.scenes.landscapes import LANDSCAPES
from nadir.synthetic.scenes.nightscapes import NIGHTSCAPES
from nadir.synthetic.scenes.setpieces import Stage
from nadir.synthetic.styles import PLAIN

if TYPE_CHECKING:
    import random

PLACES: dict[str, tuple[str, ...]] = {
    "sky": ("outdoors", "day", "blue_sky", "cloud", "grass"),
    "starry_sky": ("outdoors", "night", "night_sky", "sky", "star_(sky)", "crescent_moon"),
    "ocean": ("outdoors", "beach", "sky", "blue_sky", "sand"),
    "indoors": ("window", "curtains", "wooden_floor"),
    "sunset": ("outdoors", "sky", "orange_sky", "sun", "water"),
    "forest": ("outdoors", "tree", "nature", "day"),
    "snow": ("outdoors", "winter", "snowing", "pine_tree"),
    "cherry_blossoms": ("outdoors", "tree", "petals", "spring_(season)", "day"),
    "flower_field": ("outdoors", "flower", "sky", "day"),
    "cityscape": ("outdoors", "night", "building", "city_lights"),
    "rain": ("outdoors", "puddle", "cloudy_sky"),
    "mountain": ("outdoors", "sky", "day", "mountainous_horizon"),
    "autumn_leaves": ("outdoors", "tree", "autumn"),
    "classroom": ("indoors", "chalkboard"),
    "underwater": ("bubble", "fish", "seaweed"),
    "space": ("planet", "star_(sky)"),
    "desert": ("outdoors", "cactus", "sand", "day"),
    "fireworks": ("outdoors", "night", "night_sky"),
    "aurora": ("outdoors", "night", "night_sky", "snow"),
    "rainbow": ("outdoors", "day", "blue_sky", "grass"),
}
"""Places, most frequent first, and the tags that come with them."""


def draw_place(canvas: Canvas, place: str, rng: random.Random) -> None:
    """Fill the canvas with a place."""
    pen = Pen(canvas, PLAIN, 0, 0, canvas.height)
    paint = {**LANDSCAPES, **NIGHTSCAPES, **INTERIORS}[place]
    paint(Stage(pen, canvas.width / canvas.height, rng))
