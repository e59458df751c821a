"""Body and clothes below the head: legs, torso, arms, and what the hands hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.synthetic.canvas import circle, limb, smooth
from nadir.synthetic.characters.garments import draw_details
from nadir.synthetic.characters.props import draw_prop
from nadir.synthetic.palette import CLOTH, SKIN, Colour

if TYPE_CHECKING:
    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look

POSE_EXTENT = {"arms_up": 1.62, "waving": 1.55, "v": 1.55, "hands_on_hips": 1.12}
"""Half width of a pose in head radii, where it is wider than the head."""

_SHOULDER = (0.44, 1.14)
_ARMS = {
    "": ((0.66, 1.5), (0.72, 1.82)),
    "hands_on_hips": ((0.98, 1.42), (0.58, 1.74)),
    "raised": ((0.98, 1.22), (1.34, 0.72)),
    "front": ((0.66, 1.5), (0.26, 1.58)),
    "arms_behind_back": ((0.66, 1.45), (0.5, 1.75)),
}
_LONG = {"dress": 2.25, "kimono": 2.5, "coat": 2.15, "cape": 2.2, "sundress": 2.2}
_SLEEVELESS = {"sundress", "overalls"}


def draw_body(pen: Pen, look: Look) -> None:
    """Everything below the chin, the pen's origin being the head's centre."""
    if look.garment == "cape":
        cape = smooth(
            [
                (-0.4, 0.95, 1),
                (-0.75, 1.5),
                (-1.02, 2.3, 1),
                (0, 2.42),
                (1.02, 2.3, 1),
                (0.75, 1.5),
                (0.4, 0.95, 1),
            ]
        )
        pen.shape(cape, CLOTH[look.accent], shade=circle(0, 2.0, 0.8, 1.0))
    _legs(pen, look)
    neck = np.array([[-0.16, 0.75], [0.16, 0.75], [0.18, 1.1], [-0.18, 1.1]])
    pen.shape(neck, SKIN[look.skin], shade=circle(0, 0.75, 0.4, 0.25))
    for side in (-1, 1):
        if look.pose == "arms_behind_back":
            _arm(pen, look, side)
    _bottom(pen, look)
    _torso(pen, look)
    draw_details(pen, look)


def draw_arms(pen: Pen, look: Look) -> None:
    """Arms, hands and prop, in front of body and hair."""
    for side in (-1, 1):
        if look.pose != "arms_behind_back":
            _arm(pen, look, side)
    if look.prop:
        draw_prop(pen, look)


def _legs(pen: Pen, look: Look) -> None:
    skin = SKIN[look.skin]
    trousers = look.bottom == "pants" or look.garment == "overalls"
    for side in (-1, 1):
        leg = limb([(side * 0.25, 1.8), (side * 0.25, 2.3), (side * 0.25, 2.7)], 0.2, 0.17)
        pen.shape(leg, CLOTH[look.bottom_colour] if trousers else skin)
        if look.legwear and not trousers:
            top = {"socks": 2.5, "kneehighs": 2.3, "thighhighs": 2.15}[look.legwear]
            sock = limb([(side * 0.25, top), (side * 0.25, 2.5), (side * 0.25, 2.7)], 0.185, 0.17)
            pen.shape(sock, (250, 250, 252) if look.legwear == "socks" else CLOTH["black"])
        shoe = smooth(
            [
                (side * 0.06, 2.68),
                (side * 0.3, 2.58),
                (side * 0.5, 2.72),
                (side * 0.52, 2.86, 1),
                (side * 0.06, 2.86, 1),
            ]
        )
        pen.shape(shoe, (86, 56, 48))


def _torso(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.garment_colour]
    hem = _LONG.get(look.garment, 0.0)
    if hem:
        points = [(-0.2, 0.94), (-0.48, 1.02), (-0.5, 1.35), (-0.46, 1.6), (-0.74, hem - 0.3),
        (-0.92, hem, 1), (-0.4, hem + 0.12),
                  (0.0, hem + 0.13), (0.4, hem + 0.12), (0.92, hem, 1), (0.74, hem - 0.3),
                  (0.46, 1.6), (0.5, 1.35), (0.48, 1.02), (0.2, 0.94)]  # fmt: skip
        if look.garment in {"kimono", "coat", "cape"}:
            points = [(x * 0.78 if y > 1.8 else x, y, *rest) for x, y, *rest in points]
    else:
        points = [
            (-0.2, 0.94),
            (-0.48, 1.02),
            (-0.53, 1.4),
            (-0.52, 1.86, 1),
            (0, 1.93),
            (0.52, 1.86, 1),
            (0.53, 1.4),
            (0.48, 1.02),
            (0.2, 0.94),
        ]
    shade = smooth([(0.16, 0.8), (1.2, 0.8), (1.2, 2.8), (0.42, 2.8), (0.22, 1.6)])
    pen.shape(smooth(points), colour, shade=shade)


def _bottom(pen: Pen, look: Look) -> None:
    colour = CLOTH[look.bottom_colour]
    if look.bottom == "skirt":
        skirt = smooth(
            [
                (-0.46, 1.72, 1),
                (-0.86, 2.22, 1),
                (-0.4, 2.32),
                (0, 2.34),
                (0.4, 2.32),
                (0.86, 2.22, 1),
                (0.46, 1.72, 1),
            ]
        )
        pen.shape(skirt, colour, shade=circle(0.7, 2.1, 0.5, 0.6))
        for x in (-0.32, 0.0, 0.32):
            pen.edge(np.array([[x * 0.9, 2.0], [x * 1.25, 2.3]]), colour, closed=False)
    elif look.bottom:
        low = 2.2 if look.bottom == "shorts" else 2.05
        shorts = smooth(
            [
                (-0.5, 1.75, 1),
                (-0.54, low, 1),
                (-0.06, low + 0.03, 1),
                (0, 2.0, 1),
                (0.06, low + 0.03, 1),
                (0.54, low, 1),
                (0.5, 1.75, 1),
            ]
        )
        pen.shape(shorts, colour)


def _arm(pen: Pen, look: Look, side: int) -> None:
    key = look.pose
    if look.pose in {"waving", "v", "holding_up"}:
        key = "raised" if side == 1 else ""
    elif look.pose == "arms_up":
        key = "raised"
    elif look.pose == "holding":
        key = "front"
    elbow, hand = _ARMS[key]
    points = [(side * x, y) for x, y in (_SHOULDER, elbow, hand)]
    skin, sleeve = SKIN[look.skin], CLOTH[look.garment_colour]
    pen.shape(circle(points[2][0], points[2][1], 0.17, n=24), skin)
    if look.pose == "v" and side == 1:
        for lean in (-0.12, 0.14):
            pen.shape(limb([(1.36, 0.66), (1.38 + lean, 0.34)], 0.06, 0.055), skin)
    if look.garment in _SLEEVELESS or look.garment == "shirt":
        pen.shape(limb(points, 0.16, 0.14), skin)
        pen.shape(circle(points[2][0], points[2][1], 0.17, n=24), skin)
        if look.garment != "sundress":
            _short_sleeve(pen, look, points)
        return
    wide = 0.3 if look.garment in {"kimono", "cape"} else 0.2
    reach = [points[0], points[1], _between(points[1], points[2], 0.72)]
    pen.shape(limb(reach, 0.19, wide), sleeve, shade=circle(side * 1.0, 1.7, 0.5, 0.4))
    if key == "raised":
        pen.shape(circle(points[2][0], points[2][1], 0.18, n=24), skin)


def _short_sleeve(pen: Pen, look: Look, points: list[tuple[float, float]]) -> None:
    colour: Colour = CLOTH["white"] if look.garment == "overalls" else CLOTH[look.garment_colour]
    pen.shape(limb([points[0], _between(points[0], points[1], 0.6)], 0.2, 0.22), colour)


def _between(
    first: tuple[float, float], second: tuple[float, float], share: float
) -> tuple[float, float]:
    return (first[0] + (second[0] - first[0]) * share, first[1] + (second[1] - first[1]) * share)
