"""Facts inside picture files, so that a picture says by itself how it was drawn."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from PIL.Image import Image

KEY = "nadir"
"""Name of the PNG text chunk; its text is a JSON object."""


def with_facts(picture: Image, facts: Mapping[str, Any]) -> Image:
    """A copy of a picture that carries facts into every PNG file it is saved to.

    The facts go with `save` itself, wherever it is called, so a tracker's files have them as well.
    Other file formats leave them out.

    Args:
        picture: Any picture.
        facts: Plain JSON values; equal facts give equal bytes.
    """
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_itxt(KEY, json.dumps(facts, sort_keys=True, ensure_ascii=False))
    marked = picture.copy()
    marked.encoderinfo = {"pnginfo": info}
    return marked


def has_facts(picture: Image) -> bool:
    """Whether a picture that was read from a PNG file says how it was drawn."""
    return KEY in getattr(picture, "text", {})


def read_facts(path: Path) -> dict[str, Any]:
    """The facts inside a PNG file.

    Raises:
        NadirError: It is not a PNG file, or carries none.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            text = getattr(picture, "text", {}).get(KEY)
    except UnidentifiedImageError:
        text = None
    if text is None:
        raise NadirError(
            "the picture does not say how it was drawn",
            where=str(path),
            fix="name a PNG file as Nadir wrote it; other programs often drop its text",
        )
    facts: dict[str, Any] = json.loads(text)
    return facts
