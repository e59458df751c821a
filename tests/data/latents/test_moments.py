"""Channel moments: right, mergeable in any order, stable far from zero."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.latents.moments import ChannelMoments, ImageMoments, standard_errors


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


def clusters(rng: np.random.Generator, images: int) -> list[np.ndarray]:
    """Latents [1, 2, H, W] of several sizes; pixels of one image are alike."""
    shapes = [(4, 4), (4, 6), (8, 4)]
    return [
        rng.normal(0, 2, (1, 2, 1, 1)) * np.array([1, 3]).reshape(1, 2, 1, 1)
        + rng.normal(1, rng.uniform(0.5, 2), (1, 2, *shapes[number % 3]))
        for number in range(images)
    ]


def results(images: list[np.ndarray], population: int) -> tuple[np.ndarray, np.ndarray]:
    """[2, C] mean and std, and their standard errors."""
    total = ChannelMoments.none(2)
    for image in images:
        total = total.merge(ChannelMoments.of(image))
    sample = ImageMoments.together([ImageMoments.of(image) for image in images])
    errors = standard_errors(sample, total, population)
    return np.stack([total.mean, total.std]), np.stack(errors)


def test_the_standard_error_is_how_far_samples_lie_from_one_another() -> None:
    rng = np.random.default_rng(0)
    everything = clusters(rng, 400)
    drawn = [
        results([everything[i] for i in rng.choice(400, 100, replace=False)], 400)
        for _ in range(300)
    ]
    spread = np.std([values for values, _ in drawn], axis=0)
    stated = np.mean([errors for _, errors in drawn], axis=0)
    # Without regard to the share that was drawn, it would be 15 % more.
    np.testing.assert_allclose(stated, spread, rtol=0.12)
    whole, _ = results(everything, 400)
    inside = [np.abs(values - whole) < 2 * errors for values, errors in drawn]
    assert 0.92 < np.mean(inside) < 0.98


def test_a_sample_of_everything_has_no_error_and_one_image_none_at_all() -> None:
    images = clusters(np.random.default_rng(0), 20)
    _, errors = results(images, 20)
    np.testing.assert_array_equal(errors, 0)
    with pytest.raises(ValueError, match="needs two images"):
        results(images[:1], 20)


def test_latents_of_one_image_count_as_one_for_the_standard_error() -> None:
    rng = np.random.default_rng(0)
    latents = rng.normal(size=(6, 3, 4, 4)) + rng.normal(size=(6, 3, 1, 1))
    whole = ImageMoments.of(latents)
    halves = ImageMoments.of(np.concatenate([latents[..., :2], latents[..., 2:]]))
    merged = halves.of_images(np.tile(np.arange(6), 2))
    for name in ("pixels", "mean", "squared_deviations"):
        np.testing.assert_allclose(getattr(merged, name), getattr(whole, name))
    assert whole.of_images(np.arange(6)) is whole
