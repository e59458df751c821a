"""One image file: what it is, or why it cannot be used."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nadir.data.inspection.decoding import ImageError, glance, open_image
from nadir.data.inspection.perceptual_hash import measure
from nadir.data.quarantine import Reason
from nadir.data.sources.interfaces import DamagedError

if TYPE_CHECKING:
    from nadir.data.sources.interfaces import Source

__all__ = ["Facts", "ImageError", "Limits", "inspect_file", "open_image"]

RULES = 4
"""Raise when a rule of decoding or measuring changes, so that remembered facts are made anew."""

_LONGEST_SIDE = (1 << 31) - 1
_TIFF_BYTES = np.array([0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 0])
_SHORT = 3
_OFFSETS, _LENGTHS = 273, 279  # of the strips; tiles are left to the decoder


@dataclass(frozen=True)
class Limits:
    """What one file may cost, and how it is flattened.

    Attributes:
        max_pixels: Width times height; larger images are not decoded.
        max_file_bytes: Larger files are not read.
        alpha_background: RGB, 0 to 255.
        max_seconds: Processor time for reading and decoding; the caller enforces it.
    """

    max_pixels: int
    max_file_bytes: int
    alpha_background: tuple[int, int, int]
    max_seconds: float = 60.0


@dataclass(frozen=True)
class Facts:
    """What inspection found; the fields up to `perceptual_hash` are None where it could not look.

    Attributes:
        sha256: Of the file's bytes, hex.
        width: Pixels, after EXIF orientation.
        height: Pixels, after EXIF orientation.
        format: The real format: png, jpeg, webp ...
        mean_luminance: 0 to 1, Rec. 709 on gamma-encoded values.
        perceptual_hash: 64-bit DCT hash, 16 hex digits.
        reason: Why there are no pixels, a `Reason`; None for a good image.
        detail: More about the reason.
        colour: What became of an embedded colour profile: srgb, converted or unusable; None
            without one.
    """

    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    format: str | None = None
    mean_luminance: float | None = None
    perceptual_hash: str | None = None
    reason: str | None = None
    detail: str | None = None
    colour: str | None = None


def inspect_file(source: Source, path: str, size: int, version: str, *, limits: Limits) -> Facts:
    """Read, hash and decode one listed file. Never raises for what the file holds.

    Args:
        source: Where it lies.
        path: Its path in the listing.
        size: Bytes, as listed; -1 where the listing does not know.
        version: Of its content, as listed.
        limits: What it may cost.
    """
    try:
        data = _read(source, path, size, version, limits.max_file_bytes)
    except ImageError as error:
        return Facts(reason=error.reason, detail=error.detail)
    sha256 = hashlib.sha256(data).hexdigest()
    try:
        seen = glance(io.BytesIO(data), limits.alpha_background, limits.max_pixels)
    except ImageError as error:
        reason, detail = error.reason, error.detail
        if reason == Reason.UNREADABLE and _ends_early(data):
            reason, detail = Reason.TRUNCATED, "the file ends before the image does"
        width, height = _plausible(error.size)
        return Facts(sha256, width, height, reason=reason, detail=detail)
    measured = measure(seen.low)
    return Facts(sha256, seen.width, seen.height, seen.format, *measured, colour=seen.colour)


def _plausible(size: tuple[int, int] | None) -> tuple[int, int] | tuple[None, None]:
    """The size that a header states; none where it is more than any decoder or table could hold.

    The detail of the reason quotes it as it stands.
    """
    return size if size and min(size) >= 0 and max(size) <= _LONGEST_SIDE else (None, None)


def _read(source: Source, path: str, size: int, version: str, max_bytes: int) -> bytes:
    if size == 0:
        raise ImageError(Reason.EMPTY_FILE, "the file has 0 bytes")
    if size > max_bytes:
        raise ImageError(Reason.TOO_LARGE, f"the file has {size:,} bytes, more than {max_bytes:,}")
    try:
        content = source.read(path, max_bytes + 1 if size < 0 else size + 1)
    except FileNotFoundError as error:
        raise ImageError(Reason.VANISHED, "the file is gone since it was listed") from error
    except DamagedError as error:
        raise ImageError(Reason.BAD_ARCHIVE, f"the table: {error.strerror}") from error
    except OSError as error:
        raise ImageError(Reason.CANNOT_OPEN, str(error.strerror)) from error
    if content.version != version or size not in (-1, len(content.data)):
        raise ImageError(Reason.VANISHED, "the file has changed since it was listed")
    if len(content.data) > max_bytes:
        raise ImageError(Reason.TOO_LARGE, f"the file has more than {max_bytes:,} bytes")
    if not content.data:
        raise ImageError(Reason.EMPTY_FILE, "the file has 0 bytes")
    return content.data


def _ends_early(data: bytes) -> bool:
    """True when the container says that bytes are missing at its end."""
    if data[:4] == b"RIFF":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data[-64:]
    if data.startswith(b"\xff\xd8"):
        return b"\xff\xd9" not in data[-64:]
    if data[4:8] == b"ftyp":
        return _boxes_end_early(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return _tiff_ends_early(data)
    return data.startswith(b"GIF8") and not data.rstrip(b"\0").endswith(b";")


def _boxes_end_early(data: bytes) -> bool:
    """AVIF: boxes that each begin with their length and kind (ISO/IEC 14496-12 §4.2)."""
    at, kinds = 0, set()
    while at + 8 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if length == 1:
            length = int.from_bytes(data[at + 8 : at + 16], "big")
        if length < 8:  # 0 is "to the end"; others are not lengths
            return False
        kinds.add(data[at + 4 : at + 8])
        at += length
    return at != len(data) or b"mdat" not in kinds


def _tiff_ends_early(data: bytes) -> bool:
    """TIFF: a directory says where its values and the strips of the image lie (TIFF 6.0 §2)."""
    order = "<" if data[:2] == b"II" else ">"
    kinds = (("tag", "u2"), ("kind", "u2"), ("count", "u4"), ("at", "u4"))
    entry = np.dtype([(name, order + kind) for name, kind in kinds])
    try:
        start = int(np.frombuffer(data, f"{order}u4", 1, 4)[0])
        entries = int(np.frombuffer(data, f"{order}u2", 1, start)[0])
        table = np.frombuffer(data, entry, entries, start + 2)
        sizes = _TIFF_BYTES[np.minimum(table["kind"], len(_TIFF_BYTES) - 1)] * table["count"]
        # What fits the four bytes of `at` stands there itself.
        places = np.where(sizes > 4, table["at"], start + 10 + 12 * np.arange(entries))
        if (places + sizes > len(data)).any():
            return True
        parts = {
            int(row["tag"]): np.frombuffer(
                data, f"{order}u{2 if row['kind'] == _SHORT else 4}", row["count"], place
            )
            for row, place in zip(table, places, strict=True)
            if row["tag"] in (_OFFSETS, _LENGTHS)
        }
    except ValueError:  # numpy's, when the bytes end before
        return True
    if len(parts) < 2 or len(parts[_OFFSETS]) != len(parts[_LENGTHS]):
        return False
    return bool((parts[_OFFSETS].astype(np.int64) + parts[_LENGTHS] > len(data)).any())
