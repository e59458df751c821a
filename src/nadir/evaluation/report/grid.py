"""Sample sheets: many pictures as one PNG, with captions."""

from __future__ import annotations

import math
import textwrap
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from nadir.ground.pages.drawing import COLOURS

if TYPE_CHECKING:
    from collections.abc import Sequence

_PAPER, _INK = COLOURS["paper"], COLOURS["soft"]
_GAP = 8
_MARGIN = 16
_MIN_TILE_PX = 160  # smaller pictures are enlarged by whole factors, so that pixels stay square
_MAX_TILE_PX = 384
_FONT_PX = 13


def sample_grid(
    rows: Sequence[Sequence[Image.Image]],
    *,
    row_labels: Sequence[str],
    column_labels: Sequence[str],
) -> Image.Image:
    """Lay pictures out as a sheet: labels of rows at the left, of columns above.

    Args:
        rows: Pictures row by row, all of one size.
        row_labels: One per row, such as a prompt; wrapped.
        column_labels: One per column, such as a scale or a seed.

    Returns:
        An RGB picture.
    """
    width, height = tile_size(rows[0][0])
    font = ImageFont.load_default(size=_FONT_PX)
    left = _MARGIN + 190
    top = _MARGIN + 26
    sheet_width = left + len(column_labels) * (width + _GAP) - _GAP + _MARGIN
    sheet_height = top + len(rows) * (height + _GAP) - _GAP + _MARGIN
    sheet = Image.new("RGB", (sheet_width, sheet_height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    for column, label in enumerate(column_labels):
        draw.text((left + column * (width + _GAP), _MARGIN), label, _INK, font)
    for row, (pictures, label) in enumerate(zip(rows, row_labels, strict=True)):
        y = top + row * (height + _GAP)
        lines = textwrap.wrap(label, 26, max_lines=max(height // 18, 1), placeholder=" …")
        draw.multiline_text((_MARGIN, y), "\n".join(lines), _INK, font, spacing=4)
        for column, picture in enumerate(pictures):
            sheet.paste(scaled(picture), (left + column * (width + _GAP), y))
    return sheet


def tile_size(picture: Image.Image) -> tuple[int, int]:
    """Width and height that `scaled` gives a picture."""
    side = max(picture.size)
    if side >= _MIN_TILE_PX:
        factor = min(1.0, _MAX_TILE_PX / side)
        return max(round(picture.width * factor), 1), max(round(picture.height * factor), 1)
    whole = math.ceil(_MIN_TILE_PX / side)
    return picture.width * whole, picture.height * whole


def scaled(picture: Image.Image) -> Image.Image:
    """The picture at a size that can be looked at; small ones enlarged without smoothing."""
    size = tile_size(picture)
    grows = size[0] > picture.width
    return picture.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)
