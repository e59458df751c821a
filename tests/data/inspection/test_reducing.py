"""What is seen from afar is, to the bit, Pillow's reduction of the flattened pixels."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.support.hostile import encoded, picture

from nadir.data.inspection.decoding import decode, glance
from nadir.data.inspection.flattening import to_rgb
from nadir.data.inspection.perceptual_hash import frequencies, reduction
from nadir.data.inspection.reducing import reduced

WHITE = (255, 255, 255)
BACKGROUNDS = [WHITE, (0, 0, 0), (128, 128, 128), (250, 3, 128)]
BANDS = {"RGBA": 4, "LA": 2}


def noise(mode: str, width: int, height: int) -> Image.Image:
    """Pixels of every opacity."""
    shape = (height, width, BANDS[mode])
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, np.uint8))


def same(image: Image.Image, background: tuple[int, int, int], by: tuple[int, int]) -> bool:
    flat = to_rgb(image, background).reduce(by)
    return np.array_equal(reduced(image, background, *by), flat)


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("mode", BANDS)
def test_every_value_of_every_opacity_is_flattened_as_pillow_does(
    mode: str, background: tuple[int, int, int]
) -> None:
    value = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8), (256, 1)))
    alpha = value.transpose(Image.Transpose.TRANSPOSE)
    image = Image.merge(mode, [value] * (BANDS[mode] - 1) + [alpha])
    assert same(image, background, (1, 1))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(BANDS)),
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(BACKGROUNDS),
)
def test_means_of_blocks_are_pillows_whatever_is_left_at_the_edges(
    mode: str, width: int, height: int, across: int, down: int, background: tuple[int, int, int]
) -> None:
    assert same(noise(mode, width, height), background, (across, down))


@pytest.mark.parametrize("by", [(3, 257), (3, 258), (200, 700)])
def test_sums_of_many_rows_do_not_overflow(by: tuple[int, int]) -> None:
    assert same(Image.new("RGBA", (601, 1000), (255, 255, 255, 200)), WHITE, by)
    assert same(Image.new("LA", (601, 1000), (255, 255)), WHITE, by)


def test_opaque_strips_beside_others_are_as_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nadir.data.inspection.reducing._STRIP_BYTES", 4 * 300 * 60)
    image = noise("RGBA", 300, 200)
    image.paste((10, 200, 30, 255), (0, 0, 300, 100))
    for background in BACKGROUNDS:
        assert same(image, background, (9, 6))


@pytest.mark.parametrize("mode", BANDS)
def test_a_picture_that_pillow_holds_in_several_pieces_is_reduced_alike(mode: str) -> None:
    image = noise(mode, 2400, 2000).copy()
    with pytest.raises(ValueError, match="contiguous"):
        pa.array(image)
    assert same(image, WHITE, (75, 62))
    assert same(image, (250, 3, 128), (75, 62))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("more", [[], [Image.new("RGBA", (96, 64), "red")]])
def test_a_webp_is_measured_as_the_pixels_that_pillow_loads(
    mode: str, more: list[Image.Image]
) -> None:
    image = picture(3, 96, 64).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    options = {"save_all": True, "append_images": more} if more else {}
    data = encoded(image, "WEBP", **options)
    for background in BACKGROUNDS:
        pixels, _ = decode(io.BytesIO(data), background, 100_000)
        expected = frequencies(pixels.reduce(reduction(96, 64)), 96, 64)
        assert np.array_equal(glance(io.BytesIO(data), background, 100_000).low, expected)
