"""Buckets: the lists and assignments of the paper's footnote, and pixels that fit exactly."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from nadir.data.buckets.aspects import CENTROIDS, aspect_quantile
from nadir.data.buckets.geometry import assign, cover_sizes, fit_image, log_aspect, retained_area
from nadir.data.buckets.lists import SDXL as SDXL_SIZES
from nadir.data.buckets.lists import best_buckets, bucket_list

SDXL = {"max_area_px": 1024**2, "step_px": 64, "min_side_px": 512, "max_side_px": 2048}
TALL_SDXL = [
    (512, 1856), (512, 1920), (512, 1984), (512, 2048), (576, 1664), (576, 1728), (576, 1792),
    (640, 1536), (640, 1600), (704, 1408), (704, 1472), (768, 1280), (768, 1344), (832, 1216),
    (896, 1152), (960, 1088),
]  # fmt: skip
TALL_V1 = [
    (256, 1024), (320, 1024), (384, 896), (384, 960), (384, 1024), (448, 832), (512, 704),
    (512, 768), (576, 640),
]  # fmt: skip
SIDES = st.integers(1, 10_000)

# image: (nearest of the NovelAI V1 list, nearest SDXL-sized bucket, resized to, share kept)
WORKED = {
    (1920, 1080): ((832, 448), (1344, 768), (1365, 768), 0.984375),
    (1000, 1500): ((512, 768), (832, 1216), (832, 1248), 0.974359),
    (600, 600): ((512, 512), (1024, 1024), (1024, 1024), 1.0),
    (2048, 3000): ((512, 768), (832, 1216), (832, 1219), 0.997744),
    (1063, 1000): ((640, 576), (1024, 1024), (1089, 1024), 0.940734),
    (298, 1000): ((320, 1024), (576, 1792), (576, 1933), 0.927111),
    (4000, 1000): ((1024, 256), (2048, 512), (2048, 512), 1.0),
    (100, 1000): ((256, 1024), (512, 2048), (512, 5120), 0.4),
}


def transposed(sizes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    return [(height, width) for width, height in sizes]


def v1_list() -> list[tuple[int, int]]:
    return bucket_list(
        max_area_px=512 * 768, step_px=64, min_side_px=256, max_side_px=1024, base_side_px=512
    )


def nearest(size: tuple[int, int], buckets: list[tuple[int, int]]) -> tuple[int, int]:
    return buckets[assign(np.array([size[0]]), np.array([size[1]]), buckets)[0]]


def test_the_list_for_sdxl_has_the_33_known_sizes() -> None:
    expected = sorted([*TALL_SDXL, (1024, 1024), *transposed(TALL_SDXL)])
    assert bucket_list(**SDXL) == expected
    assert len(expected) == 33
    use = [width * height / 1024**2 for width, height in expected]
    assert np.mean(use) == pytest.approx(0.962121, abs=1e-6)
    assert min(use) == 0.90625


def test_the_list_of_novelai_v1_has_its_19_sizes() -> None:
    expected = sorted([*TALL_V1, (512, 512), *transposed(TALL_V1)])
    assert v1_list() == expected
    use = [width * height / (512 * 768) for width, height in expected]
    assert np.mean(use) == pytest.approx(0.889254, abs=1e-6)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 12), st.integers(1, 400))
def test_every_list_keeps_its_limits_has_its_square_and_no_ratio_twice(
    shortest: int, further: int, area: int
) -> None:
    longest = shortest + further
    buckets = bucket_list(
        max_area_px=max(area, shortest**2) * 64,
        step_px=8,
        min_side_px=shortest * 8,
        max_side_px=longest * 8,
    )
    assert any(width == height for width, height in buckets)
    assert len({width / height for width, height in buckets}) == len(buckets)
    for width, height in buckets:
        assert width * height <= max(area, shortest**2) * 64
        assert all(side % 8 == 0 for side in (width, height))
        assert shortest * 8 <= min(width, height) <= max(width, height) <= longest * 8
        assert (height, width) in buckets


def mean_loss(log_ratios: np.ndarray, buckets: list[tuple[int, int]]) -> float:
    of_buckets = log_aspect(*np.array(buckets).T)
    return float(1 - np.exp(-np.abs(log_ratios[:, None] - of_buckets).min(axis=1)).mean())


def test_the_published_lists_keep_what_is_known_of_a_booru_mix() -> None:
    centroids = np.log(CENTROIDS)
    assert 1 - mean_loss(centroids, [(1024, 1024)]) == pytest.approx(0.673624, abs=1e-6)
    assert 1 - mean_loss(centroids, v1_list()) == pytest.approx(0.944755, abs=1e-6)
    assert 1 - mean_loss(centroids, bucket_list(**SDXL)) == pytest.approx(0.957669, abs=1e-6)
    assert len(set(SDXL_SIZES)) == 40
    assert 1 - mean_loss(centroids, list(SDXL_SIZES)) == pytest.approx(0.96493, abs=1e-5)


def test_forty_chosen_buckets_crop_less_than_two_per_cent_of_a_booru_mix() -> None:
    mix = aspect_quantile((np.arange(20_000) + 0.5) / 20_000)
    limits = {"max_area_px": 1024**2, "step_px": 32, "min_side_px": 416, "max_side_px": 2496}
    chosen = best_buckets(40, **limits)
    assert len(chosen) <= 40
    assert mean_loss(mix, chosen) < 0.02
    assert mean_loss(mix, chosen) < mean_loss(mix, list(SDXL_SIZES)) / 1.5
    assert all((height, width) in chosen for width, height in chosen)
    assert (1024, 1024) in chosen
    assert all(0.9 * 1024**2 <= width * height <= 1024**2 for width, height in chosen)
    assert all(side % 32 == 0 for size in chosen for side in size)
    assert (
        max(width / height for width, height in best_buckets(9, **limits, max_aspect_ratio=2)) <= 2
    )


def test_no_other_choice_of_the_same_size_crops_less() -> None:
    limits = {"max_area_px": 96**2, "step_px": 16, "min_side_px": 48, "max_side_px": 192}
    every = best_buckets(999, **limits)
    mix = np.abs(aspect_quantile((np.arange(4000) + 0.5) / 4000))
    wide = [size for size in every if size[0] > size[1]]
    for half in (1, 2, 3):
        losses = [mean_loss(mix, [(96, 96), *some]) for some in itertools.combinations(wide, half)]
        chosen = best_buckets(2 * half + 1, **limits)
        assert len(chosen) == 2 * half + 1
        assert mean_loss(mix, [s for s in chosen if s[0] >= s[1]]) == pytest.approx(min(losses))


def test_one_bucket_is_the_square_and_limits_of_aspect_hold_in_the_grid_too() -> None:
    assert best_buckets(1, **SDXL) == best_buckets(2, **SDXL) == [(1024, 1024)]
    assert bucket_list(**SDXL, max_aspect_ratio=1.3) == [
        (896, 1152), (960, 1088), (1024, 1024), (1088, 960), (1152, 896),
    ]  # fmt: skip


@pytest.mark.parametrize("size", WORKED)
def test_worked_assignments_resizes_and_kept_areas_come_out(size: tuple[int, int]) -> None:
    v1, sdxl, resized, kept = WORKED[size]
    assert nearest(size, v1_list()) == v1
    assert nearest(size, bucket_list(**SDXL)) == sdxl
    image, bucket = np.array([size]), np.array([sdxl])
    width, height = cover_sizes(image[:, 0], image[:, 1], bucket)
    assert (width[0], height[0]) == resized
    assert retained_area(image[:, 0], image[:, 1], bucket)[0] == pytest.approx(kept, abs=1e-6)


def test_a_square_is_as_near_to_a_tall_as_to_a_wide_bucket_in_log_space() -> None:
    square, both = np.array([100, 100]), np.array([[64, 128], [128, 64]])
    np.testing.assert_array_equal(retained_area(square, square, both), [0.5, 0.5])
    assert nearest((100, 101), [(64, 128), (128, 64)]) == (64, 128)
    assert nearest((101, 100), [(64, 128), (128, 64)]) == (128, 64)


@settings(max_examples=100, deadline=None)
@given(sizes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=20), order=st.randoms())
def test_the_nearest_bucket_keeps_most_of_the_image_whatever_the_list_order(
    sizes: list[tuple[int, int]], order: random.Random
) -> None:
    buckets = bucket_list(**SDXL)
    order.shuffle(buckets)
    widths, heights = np.array(sizes).T
    chosen = np.array(buckets)[assign(widths, heights, buckets)]
    every = [retained_area(widths, heights, np.tile(bucket, (len(sizes), 1))) for bucket in buckets]
    np.testing.assert_allclose(
        retained_area(widths, heights, chosen), np.max(every, axis=0), rtol=1e-12
    )


def test_log_and_linear_assignment_differ_for_the_known_share_of_ratios() -> None:
    buckets = bucket_list(**SDXL)
    heights = np.full(20_001, 10**7)
    widths = np.round(heights * np.exp(np.linspace(-1.3, 1.3, 20_001))).astype(np.int64)
    ratios = np.array([width / height for width, height in buckets])
    linear = np.abs(widths[:, None] / heights[:, None] - ratios).argmin(axis=1)
    assert (linear != assign(widths, heights, buckets)).mean() == pytest.approx(0.0148, abs=5e-4)


@settings(max_examples=200, deadline=None)
@given(SIDES, SIDES, st.sampled_from(bucket_list(**SDXL)))
def test_cover_sizes_cover_the_bucket_and_touch_it_on_one_axis(
    width: int, height: int, bucket: tuple[int, int]
) -> None:
    new_width, new_height = (
        int(side[0])
        for side in cover_sizes(np.array([width]), np.array([height]), np.array([bucket]))
    )
    assert new_width >= bucket[0]
    assert new_height >= bucket[1]
    assert new_width == bucket[0] or new_height == bucket[1]
    # The other axis is the exact proportion, rounded.
    if new_height == bucket[1]:
        assert abs(new_width - width * bucket[1] / height) <= 0.5
    else:
        assert abs(new_height - height * bucket[0] / width) <= 0.5


def test_a_fitted_image_shows_the_window_its_row_names() -> None:
    image = Image.new("RGB", (40, 80))
    image.paste((255, 255, 255), (0, 20, 40, 60))
    row = {
        "resize_width": 20, "resize_height": 40, "crop_left": 0, "crop_top": 10,
        "bucket_width": 20, "bucket_height": 20,
    }  # fmt: skip
    fitted = fit_image(image, row)
    assert fitted.size == (20, 20)
    # Away from the edges, where the filter rings, the white band fills the window.
    assert np.asarray(fitted)[3:-3].min() == 255


def test_an_image_of_its_buckets_size_is_not_resampled() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    row = {
        "resize_width": 24, "resize_height": 16, "crop_left": 0, "crop_top": 0,
        "bucket_width": 24, "bucket_height": 16,
    }  # fmt: skip
    np.testing.assert_array_equal(np.asarray(fit_image(Image.fromarray(pixels), row)), pixels)
