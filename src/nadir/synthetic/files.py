"""Pictures as files, and the ways in which a few of them are broken."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from PIL import Image

from nadir.synthetic.draw import draw
from nadir.synthetic.tags import scene_tags

if TYPE_CHECKING:
    from nadir.synthetic.characters.looks import Scene

FORMATS = {"png": 0.45, "jpg": 0.35, "webp": 0.2}
"""File endings and their shares."""

_EXACT = {"black_background", "white_background"}


def encode(image: Image.Image, ending: str, *, scene: Scene) -> bytes:
    """The picture's bytes in a format; pure black and white backgrounds survive exactly."""
    buffer = io.BytesIO()
    if ending == "png":
        image.save(buffer, "PNG", compress_level=4)
    elif ending == "jpg":
        quality = 14 if "jpeg_artifacts" in scene.meta else 92
        # Without chroma subsampling, no colour bleeds into the background's own blocks.
        subsampling = 0 if scene.background in _EXACT else 2
        image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    else:
        image.save(buffer, "WEBP", lossless=scene.background in _EXACT, quality=90, method=2)
    return buffer.getvalue()


def picture(scene: Scene, ending: str) -> tuple[bytes, str]:
    """A scene's file content and its tags as a sidecar's text."""
    return encode(draw(scene), ending, scene=scene), ", ".join(scene_tags(scene)) + "\n"


def truncated(content: bytes) -> bytes:
    """What an interrupted download leaves: the first 40 %."""
    return content[: len(content) * 2 // 5]


def one_pixel() -> bytes:
    """A picture of one pixel, as trackers use it."""
    buffer = io.BytesIO()
    Image.new("RGB", (1, 1), (255, 255, 255)).save(buffer, "PNG")
    return buffer.getvalue()
