"""An image reduced by whole pixels, strip by strip, so that no second one is in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from PIL import Image

from nadir.data.inspection.colour import colours_of
from nadir.data.inspection.flattening import to_rgb
from nadir.data.inspection.lanes import mean_colours, mean_greys
from nadir.data.inspection.perceptual_hash import luma

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Words = np.ndarray[tuple[int, ...], np.dtype[np.integer[Any]]]
    Shrink = Callable[[int, int], Image.Image]
    """From the first and the last row (not within) of a strip to its small image."""

# A strip and its copies stay in the processor's cache, which halves the time; those of one byte a
# pixel are smaller, and each strip costs some calls.
_STRIP_BYTES = 1 << 19


def reduced(
    image: Image.Image, background: tuple[int, int, int], across: int, down: int
) -> Image.Image:
    """An image reduced by `across` and `down` pixels, RGB, flattened on `background`.

    Raises:
        ImageError: Nothing says which of its values is white.
    """
    return _by_strips(image, _shrinking(image, background, (across, down)), across, down)


def reduced_luma(
    image: Image.Image, background: tuple[int, int, int], across: int, down: int
) -> Image.Image:
    """A palette's image reduced as 8-bit luma: its colours are flattened and weighed, not pixels.

    Returns:
        An RGB image, grey.
    """
    swatch = image.crop((0, 0, 256, 1))
    swatch.putdata(range(256))
    table = np.rint(luma(to_rgb(swatch, background))).astype(int).ravel().tolist()

    def shrink(top: int, bottom: int) -> Image.Image:
        grey = _strip(image, top, bottom).point(table, "L")
        # Transparency has been seen to in the palette.
        grey.info.clear()
        return grey.reduce((across, down)).convert("RGB")

    return _by_strips(image, shrink, across, down)


def _by_strips(image: Image.Image, shrink: Shrink, across: int, down: int) -> Image.Image:
    width, height = image.size
    held = 1 if image.mode in ("L", "P") else 4
    rows = max(_STRIP_BYTES // (held * width) // down, 1) * down
    whole = Image.new("RGB", (-(-width // across), -(-height // down)))
    for top in range(0, height, rows):
        whole.paste(shrink(top, min(top + rows, height)), (0, top // down))
    return whole


def _shrinking(image: Image.Image, background: tuple[int, int, int], by: tuple[int, int]) -> Shrink:
    """How a strip of an image becomes a small one."""
    as_stored = colours_of(image).transform is None
    if as_stored and image.mode in ("RGBA", "RGBX", "LA"):
        words, width, mode = _words_of(image), image.width, image.mode
        if mode == "LA":
            return lambda top, bottom: mean_greys(words(top, bottom), width, background, by)
        return lambda top, bottom: mean_colours(
            words(top, bottom), width, background, by, clear=mode == "RGBA"
        )
    if as_stored and image.mode in ("L", "RGB") and not image.has_transparency_data:
        return lambda top, bottom: _strip(image, top, bottom).reduce(by).convert("RGB")
    return lambda top, bottom: to_rgb(_strip(image, top, bottom), background).reduce(by)


def _words_of(image: Image.Image) -> Callable[[int, int], Words]:
    """Pixels of four bytes from one row to before another, [rows * width]."""
    width, form = image.width, "RGBX" if image.mode == "RGBX" else "RGBA"
    try:
        whole = np.frombuffer(pa.array(image).values.buffers()[1], "<u4")
    except ValueError:  # Pillow holds a large image in several pieces
        return lambda top, bottom: np.frombuffer(
            _strip(image, top, bottom).convert(form).tobytes(), "<u4"
        )
    return lambda top, bottom: whole[top * width : bottom * width]


def _strip(image: Image.Image, top: int, bottom: int) -> Image.Image:
    return image.crop((0, top, image.width, bottom))
