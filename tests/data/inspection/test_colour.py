"""Colour profiles: what is stored in one is seen as sRGB, and everything else stays as it is."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from tests.support.colour_profiles import (
    ADOBE_XY,
    P3_XY,
    SRGB_XY,
    gamma_curve,
    grey_profile,
    rgb_profile,
    srgb_curve,
)
from tests.support.hostile import chunk, encoded, picture

from nadir.data.inspection.decoding import glance, open_image, open_small
from nadir.data.inspection.perceptual_hash import measure, measure_image

P3 = rgb_profile(P3_XY, srgb_curve())
ADOBE = rgb_profile(ADOBE_XY, gamma_curve(563 / 256))
LINEAR_GREY = grey_profile(gamma_curve(1.0))
WHITE = (255, 255, 255)


def opened(data: bytes, background: tuple[int, int, int] = WHITE) -> Image.Image:
    return open_image(io.BytesIO(data), alpha_background=background, max_pixels=1_000_000)


def verdict(data: bytes) -> str | None:
    return glance(io.BytesIO(data), WHITE, 1_000_000).colour


def flat(mode: str, colour: Any, form: str = "PNG", **options: Any) -> bytes:
    return encoded(Image.new(mode, (24, 16), colour), form, **options)


@pytest.mark.parametrize(
    ("profile", "stored", "shown"),
    [
        # By the matrices and curves themselves, in floating point.
        (P3, (200, 60, 60), (217.48, 41.64, 52.31)),
        (ADOBE, (200, 60, 60), (231.50, 57.42, 57.42)),
        (rgb_profile(SRGB_XY, gamma_curve(1.0)), (55, 55, 55), (128.39, 128.39, 128.39)),
    ],
)
@pytest.mark.parametrize("form", ["PNG", "TIFF", "WEBP", "AVIF", "JPEG"])
def test_pixels_of_another_colour_space_become_srgb(
    form: str, profile: bytes, stored: tuple[int, int, int], shown: tuple[float, float, float]
) -> None:
    exact = {"WEBP": {"lossless": True}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}
    options = exact.get(form, {"quality": 100, "subsampling": 0} if form == "JPEG" else {})
    data = flat("RGB", stored, form, icc_profile=profile, **options)
    apart = 1 if form in ("PNG", "TIFF", "WEBP") else 3
    assert opened(data).getpixel((3, 3)) == pytest.approx(shown, abs=apart)
    assert verdict(data) == "converted"
    assert "icc_profile" not in opened(data).info


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "P, clear"])
def test_every_kind_of_colour_pixel_is_converted_and_then_flattened(mode: str) -> None:
    image = Image.new("RGB", (24, 16), (200, 60, 60))
    if mode in ("RGBA", "P, clear"):
        image.putalpha(128)
    if mode.startswith("P"):
        image = image.quantize(4)
    shown = opened(encoded(image, "PNG", icc_profile=P3), (0, 0, 255)).getpixel((1, 1))
    # Half of it over blue, which is sRGB already.
    half = (217 * 128 / 255, 42 * 128 / 255, (52 * 128 + 255 * 127) / 255)
    assert shown == pytest.approx(half if image.has_transparency_data else (217, 42, 52), abs=1.5)


@pytest.mark.parametrize("mode", ["L", "LA", "I;16", "1"])
def test_every_kind_of_grey_pixel_is_converted(mode: str) -> None:
    image = Image.new("L", (24, 16), 55)
    if mode == "LA":
        image.putalpha(Image.new("L", image.size, 255))
    elif mode == "I;16":
        image = Image.fromarray(np.full((16, 24), 55 * 257, np.uint16))
    elif mode == "1":
        image = Image.new("1", (24, 16), 1)
    data = encoded(image, "PNG", icc_profile=LINEAR_GREY)
    # Linear 55 of 255 is 128 of 255 in sRGB.
    assert opened(data).getpixel((1, 1)) == ((255,) * 3 if mode == "1" else (128,) * 3)
    assert verdict(data) == "converted"


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        rgb_profile(SRGB_XY, srgb_curve()),
        rgb_profile(SRGB_XY, srgb_curve(26)),
        rgb_profile(SRGB_XY, srgb_curve(), padding=2_000_000),
    ],
)
def test_srgb_by_any_makers_name_is_left_alone_to_the_bit(profile: bytes) -> None:
    image = picture(3)
    data = encoded(image, "PNG", icc_profile=profile)
    assert np.array_equal(opened(data), image)
    assert verdict(data) == "srgb"


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        ("RGB", b"nothing of the kind"),
        ("RGB", P3[:-4000]),
        ("RGB", P3[:128]),
        ("RGB", LINEAR_GREY),
        ("L", P3),
        ("RGB", rgb_profile(P3_XY, srgb_curve(), padding=1 << 24)),
    ],
)
def test_a_profile_that_cannot_be_used_leaves_the_pixels_and_is_told(
    mode: str, profile: bytes
) -> None:
    image = picture(4).convert(mode)
    data = encoded(image, "PNG", icc_profile=profile)
    assert np.array_equal(opened(data), image.convert("RGB"))
    assert verdict(data) == "unusable"


def test_without_a_profile_nothing_changes_and_nothing_is_told() -> None:
    data = encoded(picture(5), "PNG")
    assert np.array_equal(opened(data), picture(5))
    assert verdict(data) is None


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "P, clear", "L", "LA"])
def test_inspection_and_pages_see_the_colours_that_encoding_sees(mode: str) -> None:
    profile = LINEAR_GREY if mode.startswith("L") else rgb_profile(P3_XY, gamma_curve(1.0))
    for seed in range(3):
        image = picture(seed, 500, 700)
        if mode in ("RGBA", "LA", "P, clear"):
            image.putalpha(Image.linear_gradient("L").resize(image.size))
        image = image.quantize(64) if mode.startswith("P") else image.convert(mode)
        data = encoded(image, "PNG", icc_profile=profile)
        whole = opened(data, (250, 90, 90))
        light, found = measure(glance(io.BytesIO(data), (250, 90, 90), 1_000_000).low)
        expected_light, expected = measure_image(whole)
        assert light == pytest.approx(expected_light, abs=0.002)
        assert (int(found, 16) ^ int(expected, 16)).bit_count() <= 2
        small = open_small(
            io.BytesIO(data), alpha_background=(250, 90, 90), max_pixels=1_000_000, side=100
        )
        assert np.abs(np.asarray(small, int) - np.asarray(whole.reduce(5), int)).max() <= 1


def raw_png(depth: int, kind: int, pixel: bytes, *extra: bytes) -> bytes:
    """16 by 16 equal pixels; where two or more share a byte, `pixel` is such a byte."""
    row = b"\0" + pixel * (16 * depth // 8 if depth < 8 else 16)
    header = struct.pack(">IIBBBBB", 16, 16, depth, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", header), *extra, chunk(b"IDAT", zlib.compress(row * 16))]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("depth", "pixel", "level", "shown"),
    [
        (1, b"\xff", 1, 255),
        (2, b"\x55", 1, 85),
        (4, b"\x55", 5, 85),
        (8, b"\x55", 85, 85),
        (16, b"\x55\x55", 0x5555, 85),
    ],
)
def test_the_transparent_level_of_grey_is_that_level_at_any_depth(
    depth: int, pixel: bytes, level: int, shown: int
) -> None:
    """Pillow looks for it among levels that are spread over 8 bits, and not at all in 16."""
    clear = raw_png(depth, 0, pixel, chunk(b"tRNS", struct.pack(">H", level)))
    other = raw_png(depth, 0, pixel, chunk(b"tRNS", struct.pack(">H", level - 1)))
    for data, colour in ((clear, (9, 99, 199)), (other, (shown,) * 3)):
        assert opened(data, (9, 99, 199)).getpixel((3, 3)) == colour
        exact = measure_image(opened(data, (9, 99, 199)))[0]
        seen = measure(glance(io.BytesIO(data), (9, 99, 199), 1_000_000).low)[0]
        assert seen == pytest.approx(exact, abs=2 / 255)


def test_grey_of_16_bits_with_alpha_takes_a_grey_profile_and_no_other() -> None:
    """Pillow opens it as colours."""
    pixel = struct.pack(">2H", 55 * 257, 65535)
    for profile, shown, said in ((LINEAR_GREY, 128, "converted"), (P3, 55, "unusable")):
        packed = chunk(b"iCCP", b"x\0\0" + zlib.compress(profile))
        data = raw_png(16, 4, pixel, packed)
        assert opened(data).getpixel((3, 3)) == (shown,) * 3
        assert verdict(data) == said
