"""JPEG segments of applications never cost an image: what they hold is not pixels.

Pillow reads versions, resolutions, profiles and colour transforms out of them, and gives the whole
file up where one is too short for that. Decoders pass over such a segment.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

from PIL import JpegImagePlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKERS = range(0xFFE0, 0xFFF0)
_PROFILE_HEADER = 14  # "ICC_PROFILE", a zero, the number of the part and of all
_MALFORMED = (struct.error, IndexError, ValueError, SyntaxError)


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Within this block `Image.open` opens JPEGs as this module says; one thread at a time."""
    markers: Any = JpegImagePlugin.MARKER
    usual = {marker: markers[marker] for marker in _MARKERS}
    markers.update({marker: (*entry[:2], _segment) for marker, entry in usual.items()})
    try:
        yield
    finally:
        markers.update(usual)


def _segment(image: Any, marker: int) -> None:
    """Read one segment, which Pillow does before it looks into it."""
    with contextlib.suppress(*_MALFORMED):
        JpegImagePlugin.APP(image, marker)
    image.icclist = [part for part in image.icclist if len(part) >= _PROFILE_HEADER]
