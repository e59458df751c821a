"""From a scene to its picture."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from nadir.synthetic.canvas import SUPERSAMPLING, Canvas, Pen, circle
from nadir.synthetic.characters.creatures import draw_creature
from nadir.synthetic.characters.figure import CUT, draw_figure, half_width, height_above
from nadir.synthetic.palette import BLACK, CLOTH, WHITE, mix
from nadir.synthetic.scenes.backgrounds import draw_backdrop
from nadir.synthetic.scenes.scenery import draw_place
from nadir.synthetic.styles import ARTISTS, DUSK, SHADOW, SKETCH

if TYPE_CHECKING:
    from PIL import Image

    from nadir.synthetic.characters.looks import Look, Scene
    from nadir.synthetic.styles import Style

_MARGIN = 0.1
"""Share of the picture kept free at the sides and above people."""


def draw(scene: Scene) -> Image.Image:
    """Draw a scene.

    Returns:
        An RGB picture of the scene's size; equal scenes give equal pixels.
    """
    rng = random.Random(scene.seed)
    style = _hand(scene)
    canvas = Canvas(scene.width, scene.height, WHITE)
    if scene.plain:
        draw_backdrop(canvas, scene.background, rng)
    else:
        draw_place(canvas, scene.background, rng)
    if scene.people:
        _people(canvas, scene, style, rng)
    elif scene.creature:
        _creature(canvas, scene, style, rng)
    image = canvas.finish()
    if "dark" in scene.effects:
        image = image.point([round(value * 0.36) for value in range(256)] * 3)
    if "monochrome" in scene.effects:
        image = image.convert("L").convert("RGB")
    return image


def _hand(scene: Scene) -> Style:
    if "sketch" in scene.meta:
        return SKETCH
    if "silhouette" in scene.effects:
        return SHADOW if scene.background in {"white_background", "sunset"} else DUSK
    return ARTISTS[scene.artist]


def _people(canvas: Canvas, scene: Scene, style: Style, rng: random.Random) -> None:
    count = len(scene.people)
    cut = CUT[scene.framing]
    above = max(height_above(look) for look in scene.people)
    widths = [half_width(look) * (0.82 if count > 1 else 1.0) for look in scene.people]
    foot = 0.93 if scene.framing == "full_body" else 1.0
    room = canvas.width * (1 - 2 * _MARGIN)
    unit = min(room / (2 * sum(widths)), canvas.height * (foot - _MARGIN * 0.8) / (above + cut))
    unit *= rng.uniform(0.9, 1.0)
    head_y = canvas.height * foot - cut * unit
    if scene.framing != "full_body":
        # A narrow picture leaves room above; sit lower than the middle rather than at the edge.
        head_y = max(min(head_y, canvas.height * 0.56), (above * unit) + canvas.height * 0.06)
    slack = room - 2 * sum(widths) * unit
    x = canvas.width * _MARGIN + slack * (0.5 if slack < unit else rng.choice((0.2, 0.5, 0.8)))
    for look, half in zip(scene.people, widths, strict=True):
        x += half * unit
        _place(
            canvas, scene, look, Pen(canvas, style, x, head_y, unit, flip=rng.random() < 0.5), rng
        )
        x += half * unit


def _place(canvas: Canvas, scene: Scene, look: Look, pen: Pen, rng: random.Random) -> None:
    if scene.framing == "full_body" and not scene.plain:
        feet = pen.at(0, 2.88)
        under = canvas.image.getpixel(
            (
                min(max(round(feet.x * SUPERSAMPLING), 0), canvas.image.width - 1),
                min(max(round(feet.y * SUPERSAMPLING), 0), canvas.image.height - 1),
            )
        )
        if isinstance(under, tuple):
            feet.fill(circle(0, 0, 0.9, 0.14), mix((under[0], under[1], under[2]), BLACK, 0.28))
    draw_figure(pen, look, nod=rng.uniform(-7, 7))


def _creature(canvas: Canvas, scene: Scene, style: Style, rng: random.Random) -> None:
    unit = min(canvas.width, canvas.height) * rng.uniform(0.27, 0.33)
    low = 0.54 if scene.plain else 0.66
    pen = Pen(
        canvas,
        style,
        canvas.width * rng.uniform(0.45, 0.55),
        canvas.height * low,
        unit,
        flip=rng.random() < 0.5,
    )
    tone = CLOTH[
        rng.choice(("orange", "white", "pink", "aqua", "green", "yellow", "purple", "red", "blue"))
    ]
    draw_creature(pen, scene.creature, tone)
