"""Channel moments: right, mergeable in any order, stable far from zero."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.statistics import ChannelMoments


def latents(images: int, height: int = 4, width: int = 6, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    offset, scale = np.array([4.8, 0.16, 1.35, -1.8]), np.array([9.9, 6.3, 7.6, 6.0])
    noise = rng.standard_normal((images, 4, height, width))
    return (noise * scale[:, None, None] + offset[:, None, None]).astype(np.float32)


def test_moments_equal_the_plain_formulas_over_pixels() -> None:
    values = latents(10).astype(np.float64)
    moments = ChannelMoments.of(values)
    np.testing.assert_allclose(moments.mean, values.mean(axis=(0, 2, 3)))
    np.testing.assert_allclose(moments.std, values.std(axis=(0, 2, 3)))
    assert (moments.images, moments.pixels) == (10, 240)


@settings(max_examples=40, deadline=None)
@given(cuts=st.lists(st.integers(0, 30), max_size=5), seed=st.integers(0, 99))
def test_parts_merge_to_the_whole_wherever_they_are_cut(cuts: list[int], seed: int) -> None:
    values = latents(30, seed=seed)
    edges = [0, *sorted(cuts), 30]
    parts = [ChannelMoments.of(values[a:b]) for a, b in pairwise(edges) if a < b]
    total = ChannelMoments.none(4)
    for part in parts:
        total = part.merge(total)
    whole = ChannelMoments.of(values)
    assert (total.images, total.pixels) == (whole.images, whole.pixels)
    np.testing.assert_allclose(total.mean, whole.mean, rtol=1e-12)
    np.testing.assert_allclose(total.std, whole.std, rtol=1e-12)


def test_images_of_other_shapes_weigh_by_their_pixels() -> None:
    small, large = latents(3, 2, 2, seed=1), latents(3, 8, 8, seed=2)
    merged = ChannelMoments.of(small).merge(ChannelMoments.of(large))
    pixels = np.concatenate(
        [small.transpose(1, 0, 2, 3).reshape(4, -1), large.transpose(1, 0, 2, 3).reshape(4, -1)],
        axis=1,
    )
    np.testing.assert_allclose(merged.mean, pixels.mean(axis=1, dtype=np.float64))
    np.testing.assert_allclose(merged.std, pixels.std(axis=1, dtype=np.float64))


def test_a_large_offset_does_not_eat_the_deviation() -> None:
    values = latents(20).astype(np.float64) + 1e8
    merged = ChannelMoments.of(values[:7]).merge(ChannelMoments.of(values[7:]))
    np.testing.assert_allclose(merged.std, ChannelMoments.of(latents(20)).std, rtol=1e-6)


def test_half_precision_latents_are_summed_in_double() -> None:
    values = latents(64).astype(np.float16)
    np.testing.assert_allclose(
        ChannelMoments.of(values).mean, values.astype(np.float64).mean(axis=(0, 2, 3)), rtol=1e-12
    )


def test_no_image_has_neutral_moments() -> None:
    nothing = ChannelMoments.none(4).merge(ChannelMoments.none(4))
    assert nothing.pixels == 0
    np.testing.assert_array_equal(nothing.std, 0)
