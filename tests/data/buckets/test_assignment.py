"""Fitting a dataset: exclusions with a count, merging that loses nothing, crop rules."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nadir.config.bucket import BucketParams
from nadir.data.buckets.assignment import FittedImages, bucket_sizes, fit_images
from nadir.data.tables import BUCKETS, read_table, write_table

if TYPE_CHECKING:
    from pathlib import Path

Sizes = list[tuple[int, int]]


def params(**changes: object) -> BucketParams:
    values = {
        "max_area_px": 64 * 64,
        "step_px": 8,
        "min_side_px": 40,
        "max_side_px": 104,
        "max_aspect_ratio": 4.0,
        "resolutions": None,
        "max_buckets": None,
        "sizes": None,
        "max_log_aspect_error": 0.405,
        "min_images": 1,
        "upscale": "allow",
        "crop": "centre",
        "seed": 0,
    }
    return BucketParams.model_validate(values | changes)


def manifest_of(sizes: Sizes, splits: list[str] | None = None) -> pa.Table:
    hashes = [hashlib.sha256(str(number).encode()).hexdigest() for number in range(len(sizes))]
    return pa.table(
        {
            "sha256": hashes,
            "width": pa.array([width for width, _ in sizes], pa.int32()),
            "height": pa.array([height for _, height in sizes], pa.int32()),
            "split": splits or ["train"] * len(sizes),
        }
    )


def sizes_used(fitted: FittedImages) -> Counter[tuple[int, int]]:
    table = fitted.table
    pairs = zip(table["bucket_width"].to_pylist(), table["bucket_height"].to_pylist(), strict=True)
    return Counter(pairs)


def test_every_image_gets_its_nearest_bucket_and_the_table_its_columns(tmp_path: Path) -> None:
    fitted = fit_images(manifest_of([(640, 640), (400, 1000), (1500, 1000)]), params())
    write_table(fitted.table, tmp_path / "b.parquet", BUCKETS)
    rows = read_table(tmp_path / "b.parquet", BUCKETS).to_pylist()
    assert [(row["bucket_width"], row["bucket_height"]) for row in rows] == [
        (64, 64),
        (40, 96),
        (80, 48),
    ]
    assert rows[1]["retained_area"] == pytest.approx(0.4 * 96 / 40)
    assert fitted.upscaled == 0


def test_the_list_is_the_grid_the_best_of_it_sdxls_own_or_a_given_one() -> None:
    assert len(bucket_sizes(params(max_area_px=1024**2, max_side_px=2048))) > 40
    assert len(bucket_sizes(params(max_buckets=5))) == 5
    assert len(bucket_sizes(params(sizes="sdxl"))) == 40
    assert bucket_sizes(params(sizes=((64, 64), (48, 80)))) == [(48, 80), (64, 64)]
    with pytest.raises(ValidationError, match="must not repeat an aspect ratio"):
        params(sizes=((64, 64), (48, 48)))


def test_each_bucket_says_what_it_holds() -> None:
    manifest = manifest_of([(640, 640), (60, 60), (480, 320)], ["train", "holdout", "train"])
    uses = fit_images(manifest, params()).uses
    assert [(use.width, use.height, use.images, use.train, use.upscaled) for use in uses] == [
        (64, 64, 2, 1, 1),
        (80, 48, 1, 1, 0),
    ]
    assert uses[1].retained_area == pytest.approx(0.9)


def test_images_too_far_from_every_bucket_are_left_out_and_counted() -> None:
    fitted = fit_images(manifest_of([(100, 100), (1000, 100), (100, 1000)]), params())
    assert fitted.table.num_rows == 1
    assert (fitted.excluded_aspect, fitted.excluded_upscale) == (2, 0)


def test_small_images_are_upscaled_or_left_out_as_asked() -> None:
    manifest = manifest_of([(64, 64), (63, 63), (100, 100)])
    allowed = fit_images(manifest, params())
    assert (allowed.table.num_rows, allowed.upscaled) == (3, 1)
    strict = fit_images(manifest, params(upscale="exclude"))
    assert (strict.table.num_rows, strict.excluded_upscale, strict.upscaled) == (2, 1, 0)


def test_a_rare_bucket_is_merged_into_the_nearest_one_that_is_left() -> None:
    sizes = [(640, 640)] * 40 + [(400, 640)] * 40 + [(500, 640)] * 3
    before = sizes_used(fit_images(manifest_of(sizes), params(min_images=1)))
    assert len(before) == 3
    after = sizes_used(fit_images(manifest_of(sizes), params(min_images=8)))
    assert sum(after.values()) == 83
    assert set(after) < set(before)
    assert len(after) == 2


def test_two_rare_neighbours_that_are_enough_together_stay_apart_from_the_rest() -> None:
    sizes = [(640, 640)] * 40 + [(560, 720)] * 5 + [(680, 1000)] * 4
    used = sizes_used(fit_images(manifest_of(sizes), params(min_images=8)))
    assert used == {(64, 64): 40, (56, 72): 9}


def test_holdout_images_do_not_keep_a_bucket_alive() -> None:
    sizes = [(640, 640)] * 40 + [(480, 640)] * 40
    splits = ["train"] * 40 + ["holdout"] * 40
    assert len(sizes_used(fit_images(manifest_of(sizes), params(min_images=8)))) == 2
    assert len(sizes_used(fit_images(manifest_of(sizes, splits), params(min_images=8)))) == 1


def test_merging_never_loses_an_image_even_when_a_bucket_stays_small() -> None:
    landscape_and_portrait = [(1500, 1000)] * 40 + [(1000, 1500)] * 20
    fitted = fit_images(manifest_of(landscape_and_portrait), params(min_images=32))
    assert fitted.table.num_rows == 60
    assert sorted(sizes_used(fitted).values()) == [20, 40]
    assert fitted.table["retained_area"].to_numpy().min() == pytest.approx(0.9)


def test_a_handful_of_alike_images_ends_in_one_bucket() -> None:
    fitted = fit_images(manifest_of([(100, 100), (100, 110), (110, 100)]), params(min_images=32))
    assert fitted.table.num_rows == 3
    assert len(sizes_used(fitted)) == 1


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(20, 300), st.integers(20, 300)), min_size=1, max_size=80),
    min_images=st.integers(1, 40),
    crop=st.sampled_from(["centre", "random", "upper_third"]),
    upscale=st.sampled_from(["allow", "exclude"]),
)
def test_every_image_is_kept_or_counted_and_every_window_lies_inside(
    sizes: Sizes, min_images: int, crop: str, upscale: str
) -> None:
    chosen = params(min_images=min_images, crop=crop, upscale=upscale)
    fitted = fit_images(manifest_of(sizes), chosen)
    unmerged = fit_images(manifest_of(sizes), params(crop=crop, upscale=upscale))
    table = {name: fitted.table[name].to_numpy() for name in BUCKETS.names[1:]}
    kept, excluded = fitted.table.num_rows, fitted.excluded_aspect + fitted.excluded_upscale
    assert kept + excluded == len(sizes)
    assert kept >= unmerged.table.num_rows
    assert (table["crop_left"] >= 0).all()
    assert (table["crop_top"] >= 0).all()
    assert (table["crop_left"] + table["bucket_width"] <= table["resize_width"]).all()
    assert (table["crop_top"] + table["bucket_height"] <= table["resize_height"]).all()
    assert (table["retained_area"] >= np.exp(-chosen.max_log_aspect_error) - 1e-9).all()


def test_crop_rules_take_the_centre_the_upper_third_or_a_place_by_seed_and_hash() -> None:
    manifest = manifest_of([(640, 800)] * 200)
    one = {"min_side_px": 64, "max_side_px": 64}
    tops = {
        rule: fit_images(manifest, params(crop=rule, **one)).table["crop_top"].to_numpy()
        for rule in ("centre", "upper_third", "random")
    }
    assert set(tops["centre"]) == {8}
    assert set(tops["upper_third"]) == {5}
    assert set(tops["random"]) == set(range(17))
    other = fit_images(manifest, params(crop="random", seed=1, **one)).table["crop_top"].to_numpy()
    assert (other != tops["random"]).mean() > 0.8


def test_a_random_window_depends_on_the_image_alone_not_on_its_neighbours() -> None:
    one = {"crop": "random", "min_side_px": 64, "max_side_px": 64}
    many = fit_images(manifest_of([(640, 800)] * 20), params(**one)).table
    few = fit_images(manifest_of([(640, 800)] * 20)[7:9], params(**one)).table
    assert many[7:9].equals(few)


def test_an_empty_manifest_gives_an_empty_table() -> None:
    assert fit_images(manifest_of([])[:0], params()).table.num_rows == 0


def test_a_million_images_are_fitted() -> None:
    rng = np.random.default_rng(0)
    count = 1_000_000
    aspect, area = np.exp(rng.normal(-0.25, 0.35, count)), rng.uniform(3e5, 4e6, count)
    manifest = pa.table(
        {
            "sha256": [f"{number:016x}{'0' * 48}" for number in range(count)],
            "width": np.sqrt(area * aspect).astype(np.int32),
            "height": np.sqrt(area / aspect).astype(np.int32),
            "split": np.where(rng.random(count) < 0.95, "train", "holdout"),
        }
    )
    sdxl = {"max_area_px": 1024**2, "step_px": 64, "min_side_px": 512, "max_side_px": 2048}
    fitted = fit_images(manifest, params(crop="random", min_images=20_000, **sdxl))
    assert fitted.table.num_rows > 0.999 * count
