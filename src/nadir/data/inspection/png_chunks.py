"""PNG chunks that say nothing about pixels never cost an image.

Pillow refuses a PNG whose texts or profile unpack to more than a megabyte, whose texts together
have more than 64, or in which one of these chunks is malformed, because it hands them out. Nothing
here asks for texts, and generators write workflows and whole pictures into them, so they are passed
over, but for the two in which an orientation may stand.
"""

from __future__ import annotations

import contextlib
import threading
import zlib
from typing import TYPE_CHECKING

from PIL import ImageFile, PngImagePlugin

from nadir.data.inspection.colour import GREY, MAX_PROFILE_BYTES, NO_PROFILE

if TYPE_CHECKING:
    from collections.abc import Iterator

_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_ABOUT_ORIENTATION = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_LONGEST_KEYWORD = 80
# What they say of how to show the pixels is not used, or has a default.
_ANCILLARY = (b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"eXIf", b"acTL", b"fcTL", b"fdAT")
_PROFILE = b"iCCP"
_CLEAR = b"tRNS"
# Pillow spreads these over 0 to 255, but not the grey that is transparent.
_SPREAD = {"L;2": 85, "L;4": 17}
# What Pillow's readers of chunks raise at bytes they do not understand.
_MALFORMED = (ValueError, SyntaxError, IndexError, zlib.error)

_ABOUT_PIXELS = (b"IHDR", _CLEAR)

_LOCK = threading.Lock()


@contextlib.contextmanager
def patient() -> Iterator[None]:
    """Within this block `Image.open` opens PNGs as this module says; one thread at a time."""
    # Pillow has no setting for it and no other place where its reader of chunks could be named.
    with _LOCK:
        usual = PngImagePlugin.PngStream
        PngImagePlugin.PngStream = _Stream  # type: ignore[misc]
        try:
            yield
        finally:
            PngImagePlugin.PngStream = usual  # type: ignore[misc]


class _Stream(PngImagePlugin.PngStream):
    """Pillow's reader of chunks, which passes over what it cannot make sense of."""

    def call(self, cid: bytes, pos: int, length: int) -> bytes:
        """Read one chunk; gives its bytes, which are checked against its checksum."""
        if cid == _PROFILE:
            return self._profile(length)
        if cid in _ABOUT_PIXELS:
            return self._pixels(cid, pos, length)
        if cid in _TEXTS:
            # Other keywords could bear the name of a fact: Pillow keeps both in one place.
            beginning = self._bytes(min(length, _LONGEST_KEYWORD))
            if not beginning.startswith(_ABOUT_ORIENTATION):
                return beginning + self._bytes(length - len(beginning))
            self._back_to(pos)
        elif cid not in _ANCILLARY:
            return super().call(cid, pos, length)
        try:
            return super().call(cid, pos, length)
        except _MALFORMED:
            self._back_to(pos)
            return self._bytes(length)

    def _pixels(self, cid: bytes, pos: int, length: int) -> bytes:
        chunk = super().call(cid, pos, length)
        rawmode = self.im_rawmode or ""
        if cid == _CLEAR and rawmode in _SPREAD and "transparency" in self.im_info:
            self.im_info["transparency"] *= _SPREAD[rawmode]
        elif rawmode.startswith("LA") and self.im_mode == "RGBA":
            self.im_info[GREY] = True
        return chunk

    def _profile(self, length: int) -> bytes:
        """The chunk iCCP: a name, a zero, the method 0, and the packed profile."""
        chunk = self._bytes(length)
        packed = chunk[chunk.find(b"\0") + 1 :]
        profile = NO_PROFILE
        with contextlib.suppress(zlib.error):
            # What is longer is refused where the profile is looked at.
            unpacked = zlib.decompressobj().decompress(packed[1:], MAX_PROFILE_BYTES + 1)
            profile = unpacked if packed[:1] == b"\0" else NO_PROFILE
        self.im_info["icc_profile"] = profile
        return chunk

    def _bytes(self, length: int) -> bytes:
        assert self.fp is not None  # noqa: S101 - as in Pillow: it is open while it reads
        return ImageFile._safe_read(self.fp, length)  # noqa: SLF001 - what its own readers use

    def _back_to(self, pos: int) -> None:
        assert self.fp is not None  # noqa: S101 - as above
        self.fp.seek(pos)
