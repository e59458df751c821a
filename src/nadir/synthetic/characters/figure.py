"""One person, drawn layer by layer, and the room a person needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.synthetic.characters import accessories, face, hair, outfit

if TYPE_CHECKING:
    from nadir.synthetic.canvas import Pen
    from nadir.synthetic.characters.looks import Look

CUT = {"portrait": 1.25, "upper_body": 1.8, "cowboy_shot": 2.3, "full_body": 2.9}
"""How far below the head's centre a framing shows a person, in head radii."""


def half_width(look: Look) -> float:
    """Distance from the middle to the person's outermost part, in head radii."""
    worn = [accessories.WIDTH.get(name, 0.0) for name in look.accessories]
    held = 1.85 if look.prop == "balloon" else 1.55 if look.pose == "holding_up" else 0.0
    pose = outfit.POSE_EXTENT.get(look.pose, 0.0)
    return max(1.2, hair.EXTENT.get(look.hair_style, 0.0), pose, held, *worn, 0.0)


def height_above(look: Look) -> float:
    """Distance from the head's centre to the person's top, in head radii."""
    worn = [accessories.HEIGHT.get(name, 0.0) for name in look.accessories]
    own = (
        1.62 if "ahoge" in look.features or look.hair_style in {"spiked_hair", "hair_bun"} else 1.3
    )
    return max(own, *worn, 0.0)


def draw_figure(pen: Pen, look: Look, *, nod: float = 0.0) -> None:
    """Draw a person; the pen's origin is the head's centre, its unit the head's radius.

    Args:
        pen: Where and how to draw.
        look: Whom to draw.
        nod: Tilt of the head in degrees, clockwise.
    """
    head = pen.at(0, 0.55).tilted(nod).at(0, -0.55)
    accessories.draw_behind(pen, look)
    hair.draw_back_hair(head, look)
    outfit.draw_body(pen, look)
    face.draw_head(head, look)
    face.draw_face(head, look)
    accessories.draw_on_face(head, look)
    hair.draw_front_hair(head, look)
    accessories.draw_on_head(head, look)
    outfit.draw_arms(pen, look)
