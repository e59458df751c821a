"""Embedded colour profiles: pixels as sRGB, whatever they were stored as.

A picture in a wide-gamut profile holds duller numbers than it shows, and one that is taken for sRGB
trains duller colours. The rules:

- RGB and grey pixels go to sRGB by relative colorimetry with black point compensation, CMYK by the
  perceptual intent, all by littleCMS.
- A profile under which no colour moves by more than `_NEAR` of 255 levels is sRGB by another
  maker's name; such pixels are left alone.
- A profile that cannot be read, or is for other pixels than the file holds, is passed over.
- Only embedded ICC profiles count. PNG's gAMA, cHRM and cICP, AVIF's nclx and EXIF's colour space
  are not looked at: some are often wrong, the others Pillow does not give.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageCms

Verdict = Literal["srgb", "converted", "unusable"]
"""What became of an embedded profile: left alone, applied, or passed over."""

MAX_PROFILE_BYTES = 1 << 24
"""Longer profiles are not read; the largest that a JPEG can hold is about as long."""
NO_PROFILE = b"?"
"""Stands for a profile that cannot be unpacked."""
GREY = "grey pixels"
"""Key in an image's `info` where Pillow has made colours of grey with alpha, as of 16 bits."""

_NEAR = 2
_KINDS = {"CMYK": "CMYK", "L": "L", "LA": "L", "La": "L", "1": "L"}
_SPACES = {"CMYK": "CMYK", "L": "GRAY", "RGB": "RGB"}
_FAULTS = (ImageCms.PyCMSError, OSError, ValueError, TypeError)


@dataclass(frozen=True)
class Colours:
    """How the pixels of one image become sRGB.

    Attributes:
        verdict: What becomes of its profile; None when it has none.
        kind: Pillow's mode that the transform takes: L, RGB or CMYK.
        transform: To RGB; None where the numbers stay what they are.
    """

    verdict: Verdict | None
    kind: str
    transform: ImageCms.ImageCmsTransform | None = None

    def plain(self, image: Image.Image) -> Image.Image:
        """An image as sRGB without what it says of transparency."""
        if self.transform is None:
            return image.convert("RGB")
        stored = image if image.mode == self.kind else image.convert(self.kind)
        shown = self.transform.apply(stored)
        # Pillow puts the profile of sRGB there, half a kilobyte for each image.
        shown.info.clear()
        return shown


def colours_of(image: Image.Image) -> Colours:
    """What the profile of an opened image means for its pixels."""
    grey = image.mode.startswith("I") or GREY in image.info
    kind = "L" if grey else _KINDS.get(image.mode, "RGB")
    if "icc_profile" not in image.info:
        return Colours(None, kind)
    profile = image.info["icc_profile"]
    # None where the parts of a JPEG's do not fit together; a TIFF may say anything.
    if not isinstance(profile, bytes) or len(profile) > MAX_PROFILE_BYTES:
        return Colours("unusable", kind)
    return _colours(profile, kind)


# Datasets hold few different profiles, and a transform takes a hundred times as long to make as
# its profile to look up. The strips of one image share one.
@functools.lru_cache(maxsize=16)
def _colours(profile: bytes, kind: str) -> Colours:
    try:
        embedded = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if embedded.profile.xcolor_space.strip() != _SPACES[kind]:
            return Colours("unusable", kind)
        transform = _transform(embedded, kind)
    except _FAULTS:
        return Colours("unusable", kind)
    if kind != "CMYK" and _moves(transform, kind) <= _NEAR:
        return Colours("srgb", kind)
    return Colours("converted", kind, transform)


def _transform(embedded: ImageCms.ImageCmsProfile, kind: str) -> ImageCms.ImageCmsTransform:
    target = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    intent, flags = ImageCms.Intent.PERCEPTUAL, ImageCms.Flags.NONE
    if kind != "CMYK":
        intent = ImageCms.Intent.RELATIVE_COLORIMETRIC
        flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    return ImageCms.ImageCmsTransform(embedded, target, kind, "RGB", intent, flags=flags)


def _moves(transform: ImageCms.ImageCmsTransform, kind: str) -> int:
    """The most levels by which a transform moves a channel, over colours of all sorts."""
    steps = np.linspace(0, 255, 18).astype(np.uint8)
    colours = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    before = Image.linear_gradient("L") if kind == "L" else Image.fromarray(colours)
    after = np.asarray(transform.apply(before), np.int16)
    return int(np.abs(after - np.asarray(before.convert("RGB"), np.int16)).max())
