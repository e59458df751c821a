"""Each metric sees the fault it is for."""

from __future__ import annotations

import numpy as np
import pytest

from nadir.evaluation.health import health
from nadir.evaluation.metrics.brightness import (
    border_mask,
    luminance,
    region_luminance,
)
from nadir.evaluation.metrics.brightness_error import root_mean_square
from nadir.evaluation.metrics.chroma import chroma
from nadir.evaluation.metrics.clipping import clip_fraction
from nadir.evaluation.metrics.contrast import contrast
from nadir.evaluation.metrics.detail import fine_detail
from nadir.evaluation.metrics.diversity import low_pass, seed_distance
from nadir.evaluation.metrics.light.extremes import extreme_share
from nadir.evaluation.metrics.light.ladder import reached, slope
from nadir.evaluation.metrics.sets.distances import kid, sliced_wasserstein
from nadir.evaluation.metrics.sets.memorisation import nearest, neighbours
from nadir.evaluation.metrics.sets.neighbours import coverage, recall
from nadir.evaluation.metrics.spectrum import log_power, spectrum_distance
from nadir.evaluation.reals.colours import ColourMap, thumbnails
from nadir.evaluation.reals.features import features


def flat(*colours, height=32, width=48):
    images = np.empty((len(colours), 3, height, width), dtype=np.float32)
    images[:] = np.array(colours, dtype=np.float32)[:, :, None, None]
    return images


def textures(count=64, *, seed=0, size=64):
    """Pictures with the 1/f spectrum of natural ones."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size)))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((count, 3, size, size))) / frequency
    values = np.fft.ifft2(spectrum).real
    return (0.5 + 0.12 * values / values.std()).clip(0, 1).astype(np.float32)


def test_luminance_weighs_the_channels_by_rec_709():
    images = flat((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0))
    assert luminance(images).mean(axis=(1, 2)) == pytest.approx([0.2126, 0.7152, 0.0722, 1, 0])


def test_the_border_ignores_a_figure_that_stands_in_the_middle_and_is_cut_below():
    image = flat((0, 0, 0), height=64, width=64)
    image[:, :, 10:, 12:52] = 1
    assert region_luminance(image, "border") == pytest.approx([0])
    assert region_luminance(image, "whole")[0] > 0.4


def test_the_border_is_above_and_beside_for_any_shape():
    mask = border_mask(32, 64)
    assert mask[0].all()
    assert mask[:16, 0].all()
    assert mask[:16, -1].all()
    assert not mask[16:].any()
    assert not mask[8, 32]


def test_brightness_error_is_a_root_mean_square():
    assert root_mean_square(np.array([-0.3, 0.4])) == pytest.approx(np.sqrt((0.09 + 0.16) / 2))


def test_a_model_pulled_to_grey_has_a_far_larger_brightness_error_than_an_honest_one():
    rng = np.random.default_rng(1)
    target = np.repeat([0.0, 1.0], 32)
    honest = (target + rng.normal(0, 0.03, 64)).clip(0, 1)
    pulled = 0.5 + 0.4 * (honest - 0.5)
    assert root_mean_square(pulled - target) > 5 * root_mean_square(honest - target)


def test_chroma_does_not_take_faint_noise_on_black_for_colour():
    dark = np.random.default_rng(0).uniform(0, 0.02, (1, 3, 16, 16)).astype(np.float32)
    assert chroma(dark)[0] < 0.02
    assert chroma(flat((1, 0, 0)))[0] == pytest.approx(1)
    assert chroma(flat((0.4, 0.4, 0.4)))[0] == 0


def test_clipping_counts_what_rounds_to_the_ends():
    image = flat((0, 0.5, 1))
    image[0, 1, :16] = 1 / 255
    assert clip_fraction(image)[0] == pytest.approx(2 / 3)
    image[0, 1, :16] = 0.4 / 255
    assert clip_fraction(image)[0] == pytest.approx(5 / 6)


def test_oversaturation_raises_chroma_contrast_and_clipping():
    real = textures()
    burnt = ((real - 0.5) * 2.2 + 0.5).clip(0, 1)
    for metric in (chroma, clip_fraction, contrast):
        assert metric(burnt).mean() > metric(real).mean()


def test_the_spectrum_sees_blur_and_noise_and_little_between_samples_of_one_kind():
    real, other = log_power(textures(seed=0)), log_power(textures(seed=1))
    images = textures(seed=2)
    blurred = (images + np.roll(images, 1, 2) + np.roll(images, 1, 3)) / 3
    noisy = images + np.random.default_rng(3).normal(0, 0.1, images.shape).astype(np.float32)
    floor = spectrum_distance(other, real)
    assert spectrum_distance(log_power(blurred), real) > 5 * floor
    assert spectrum_distance(log_power(noisy), real) > 5 * floor


def test_fine_detail_falls_with_blur_rises_with_noise_and_ignores_colour_and_light():
    images = textures(seed=2)
    blurred = (images + np.roll(images, 1, 2) + np.roll(images, 1, 3)) / 3
    noisy = images + np.random.default_rng(3).normal(0, 0.1, images.shape).astype(np.float32)
    plain = fine_detail(images).mean()
    assert fine_detail(blurred).mean() < plain - 0.4
    assert fine_detail(noisy).mean() > plain + 0.2
    assert fine_detail(images + 0.1).mean() == pytest.approx(plain, abs=1e-3)


def test_the_spectrum_of_one_kind_of_picture_does_not_depend_on_its_size():
    big = textures(32, size=128)
    cut = spectrum_distance(log_power(big[:, :, :64, :96]), log_power(big))
    assert cut < 0.15


def test_the_spectrum_finds_a_wave_at_its_frequency():
    waves = []
    for cycles_per_pixel in (1 / 16, 1 / 4):
        x = np.arange(64)
        wave = 0.5 + 0.3 * np.sin(2 * np.pi * cycles_per_pixel * x)
        waves.append(np.broadcast_to(wave, (3, 64, 64)))
    low, high = log_power(np.stack(waves).astype(np.float32))
    assert np.nanargmax(low) < np.nanargmax(high)


def test_flat_pictures_have_a_finite_spectrum():
    assert np.isfinite(log_power(flat((0, 0, 0), height=64, width=64))).all()


def test_seeds_that_all_look_alike_have_no_diversity_and_fine_texture_does_not_count():
    one = textures(1)
    same = np.repeat(one, 4, axis=0)
    grainy = same + np.random.default_rng(0).normal(0, 0.05, same.shape).astype(np.float32)
    assert seed_distance(low_pass(same)) == pytest.approx([0] * 4)
    assert seed_distance(low_pass(grainy)).mean() < 0.02
    assert seed_distance(low_pass(flat((0, 0, 0), (1, 1, 1)))) == pytest.approx([1, 1])


def test_one_seed_alone_has_no_diversity_value():
    assert np.isnan(seed_distance(low_pass(textures(1)))).all()


def test_low_pass_is_the_mean_of_each_cell_for_sides_that_do_not_divide():
    image = textures(1, size=64)[:, :, :20, :33]
    cells = low_pass(image)
    assert cells.shape == (1, 3, 8, 8)
    assert cells[0, 0, 0, 0] == pytest.approx(image[0, 0, :3, :5].mean())


def test_health_counts_an_image_once_however_it_is_broken():
    counts = health([(True, True), (False, False), (True, False), (False, True)])
    assert (counts.images, counts.nonfinite) == (4, 3)


def test_the_slope_is_one_for_what_was_asked_and_the_share_kept_of_what_is_pulled_to_grey():
    asked = np.repeat([0.0, 0.25, 0.5, 0.75, 1.0], 4)
    assert slope(asked, asked) == pytest.approx(1)
    assert slope(asked, 0.5 + 0.3 * (asked - 0.5)) == pytest.approx(0.3)
    assert slope(asked, np.full(20, 0.5)) == pytest.approx(0)
    assert np.isnan(slope(np.ones(4), np.ones(4)))
    assert reached(asked) == pytest.approx(1)
    assert reached(0.5 + 0.3 * (asked - 0.5)) == pytest.approx(0.3)


def test_a_pixel_is_extreme_only_when_all_its_channels_are():
    images = flat((1, 1, 1), (0, 0, 0), (1, 0, 0), (0.5, 0.5, 0.5))
    assert extreme_share(images) == pytest.approx([1, 1, 0, 0])


def test_kid_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(0)
    same = [kid(*rng.standard_normal((2, 32, 16))) for _ in range(200)]
    assert abs(np.mean(same)) < 3 * np.std(same) / np.sqrt(200)
    assert min(same) < 0, "an unbiased estimate of nothing is below zero half of the time"
    moved = kid(rng.standard_normal((32, 16)) + 0.5, rng.standard_normal((32, 16)))
    assert moved > max(same)


def test_sliced_wasserstein_is_the_shift_of_equal_shapes_and_takes_unequal_sizes():
    points = np.random.default_rng(0).standard_normal((200, 8))
    assert sliced_wasserstein(points, points) == 0
    # A shift by d along one of 8 axes is d / sqrt(8) along a direction, in the root of the mean.
    shift = np.zeros(8)
    shift[0] = 2.0
    assert sliced_wasserstein(points + shift, points) == pytest.approx(2 / np.sqrt(8), rel=0.15)
    assert sliced_wasserstein(points[:90], points) < 0.3


def test_recall_and_coverage_see_half_of_the_real_images_left_out():
    rng = np.random.default_rng(0)
    real = np.concatenate([rng.standard_normal((64, 4)), rng.standard_normal((64, 4)) + 20])
    drawn = np.concatenate([rng.standard_normal((64, 4)), rng.standard_normal((64, 4)) + 20])
    assert coverage(drawn, real) > 0.9
    assert coverage(drawn[:64], real) == pytest.approx(0.5, abs=0.06)
    assert recall(drawn, real) > 0.9
    assert recall(drawn[:64], real) == pytest.approx(0.5, abs=0.06)


def test_a_copy_is_found_mirrored_and_shifted_by_a_cell_and_no_image_is_its_own_neighbour():
    pictures = thumbnails(textures(20))
    mirrored = np.ascontiguousarray(pictures[..., ::-1])
    shifted = np.roll(pictures, 1, axis=3)
    for copies in (pictures, mirrored, shifted):
        assert nearest(copies, pictures).max() < 1e-3
        assert neighbours(copies, pictures)[1].tolist() == list(range(20))
    assert nearest(pictures, pictures, apart=True).min() > 0.01


def test_features_are_pinned():
    found = features(thumbnails(textures(2)))
    assert found.spread_NF.shape == (2, 128)
    assert found.layout_NF.shape == (2, 1984)
    # Written down once: another library or machine must give the same to float precision.
    assert found.spread_NF.sum() == pytest.approx(4.0869, rel=1e-4)
    assert found.layout_NF.sum() == pytest.approx(252.583, rel=1e-4)


def test_colours_of_latents_are_those_of_their_pictures():
    rng = np.random.default_rng(0)
    mixing = rng.normal(0, 0.1, (3, 4))
    cells = rng.normal(0, 1, (12, 4, 16, 16)).astype(np.float32)
    colours = (0.5 + np.einsum("ck,nkhw->nchw", mixing, cells)).clip(0, 1).astype(np.float32)
    colour_map = ColourMap(cells[:8], colours[:8])
    assert np.abs(colour_map(cells[8:]) - colours[8:]).max() < 0.02
