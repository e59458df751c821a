"""The three artists: what their lines, shadows and colours look like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nadir.synthetic.palette import WHITE, Colour, luminance, mix, saturate

INK: Colour = (44, 30, 52)


@dataclass(frozen=True)
class Style:
    """One artist's hand.

    Attributes:
        line: Line width in head radii; 0 draws no outlines.
        tinted: Outlines are a dark tone of the fill instead of ink.
        shading: `flat`, `cel` (hard shadow) or `soft` (gradient towards the bottom).
        saturation: Factor on every colour of the subject.
        lift: Share of white mixed into every colour of the subject.
        only: The one colour everything gets, for silhouettes.
        ink_below: Luminance below which areas stay dark although `lift` whitens all others.
    """

    line: float
    tinted: bool
    shading: Literal["flat", "cel", "soft"]
    saturation: float
    lift: float
    only: Colour | None = None
    ink_below: float = 0.0

    def colour(self, colour: Colour) -> Colour:
        """The colour as this artist would paint it."""
        if self.only is not None:
            return self.only
        if luminance(colour) < self.ink_below:
            return mix(saturate(colour, self.saturation), INK, 0.5)
        return mix(saturate(colour, self.saturation), WHITE, self.lift)

    def outline(self, fill: Colour) -> Colour:
        """The outline's colour around an area of `fill`."""
        if self.only is not None:
            return self.only
        return mix(fill, INK, 0.58) if self.tinted else mix(fill, INK, 0.94)


ARTISTS: dict[str, Style] = {
    "inkwell_otter": Style(line=0.075, tinted=False, shading="flat", saturation=1.0, lift=0.0),
    "pastel_sparrow": Style(line=0.035, tinted=True, shading="soft", saturation=0.86, lift=0.16),
    "ember_fox": Style(line=0.05, tinted=True, shading="cel", saturation=1.18, lift=0.0),
}

SKETCH = Style(line=0.05, tinted=False, shading="flat", saturation=0.0, lift=0.9, ink_below=0.26)
"""Pencil on paper: the hand of pictures tagged `sketch`."""

PLAIN = Style(line=0.0, tinted=True, shading="flat", saturation=1.0, lift=0.0)
"""No hand at all, for backgrounds: colours as they are, no outlines."""

SHADOW = Style(line=0.0, tinted=False, shading="flat", saturation=1.0, lift=0.0, only=(24, 20, 34))
"""A silhouette before something bright."""

DUSK = Style(line=0.0, tinted=False, shading="flat", saturation=1.0, lift=0.0, only=(44, 40, 66))
"""A silhouette before something dark."""
