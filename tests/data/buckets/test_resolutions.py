"""Images at several resolutions: who reaches which, and lists that never give a canvas twice."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from pydantic import ValidationError
from tests.data.buckets.test_assignment import manifest_of, params

from nadir.data.buckets.assignment import bucket_sizes, fit_images
from nadir.data.buckets.resolutions import fit_at_resolutions

SEVERAL = (32 * 32, 64 * 64, 128 * 128)
LIMITS = {"max_area_px": 128 * 128, "min_side_px": 80, "max_side_px": 208}


def test_an_image_is_at_each_resolution_that_it_fills_and_always_at_the_lowest() -> None:
    sizes = [(20, 20), (32, 32), (64, 64), (127, 127), (128, 128), (300, 200), (70, 30)]
    manifest = manifest_of(sizes).sort_by("sha256")
    fitted = fit_at_resolutions(manifest, params(**LIMITS, resolutions=SEVERAL))
    table = fitted.table.to_pandas().merge(manifest.to_pandas(), on="sha256", validate="m:1")
    table["area"] = table["bucket_width"] * table["bucket_height"]
    found = {
        (width, height): np.searchsorted(SEVERAL, rows["area"].to_list()).tolist()
        for (width, height), rows in table.groupby(["width", "height"])
    }
    assert found == {
        (20, 20): [0],  # enlarged, as bucket.upscale allows at the lowest alone
        (32, 32): [0],
        (64, 64): [0, 1],
        (127, 127): [0, 1],
        (128, 128): [0, 1, 2],
        (300, 200): [0, 1, 2],
        (70, 30): [0],
    }
    assert (fitted.images, fitted.table.num_rows, fitted.upscaled) == (7, 13, 1)
    assert table["sha256"].is_monotonic_increasing
    assert sum(use.images for use in fitted.uses) == 13


def test_each_resolution_has_the_canvases_and_crops_of_its_own() -> None:
    manifest = manifest_of([(400, 300), (500, 500), (300, 640)] * 3).sort_by("sha256")
    several = params(**LIMITS, resolutions=SEVERAL, crop="random")
    rows = fit_at_resolutions(manifest, several).table
    for area in SEVERAL:
        alone = fit_images(manifest, several.at(area)).table.to_pylist()
        assert all(row in rows.to_pylist() for row in alone)
        assert max(row["bucket_width"] * row["bucket_height"] for row in alone) <= area
    assert len(rows) == 27


def test_small_and_odd_images_are_left_out_once_by_the_lowest_resolution() -> None:
    sizes = [(20, 20), (50, 50), (200, 10), (400, 20)]
    strict = params(**LIMITS, resolutions=SEVERAL[:1] + SEVERAL[2:], upscale="exclude")
    fitted = fit_at_resolutions(manifest_of(sizes), strict)
    assert (fitted.images, fitted.excluded_upscale, fitted.excluded_aspect) == (1, 1, 2)
    assert fitted.table.num_rows == 1


def test_no_canvas_belongs_to_two_resolutions() -> None:
    limits = {"max_area_px": 24576, "step_px": 64, "min_side_px": 64, "max_side_px": 256}
    close = params(**limits, resolutions=(16384, 24576))
    lists = [bucket_sizes(close.at(area)) for area in close.resolutions or ()]
    assert {*lists[0]} & {*lists[1]}, "the lists must overlap for this test to say anything"
    manifest = manifest_of([(40 * width, 40 * height) for width, height in lists[1]])
    table = fit_at_resolutions(manifest.sort_by("sha256"), close).table
    canvases = zip(*(table[n].to_pylist() for n in table.column_names[:3]), strict=True)
    assert max(Counter(canvases).values()) == 1


def test_one_resolution_is_what_it_was() -> None:
    manifest = manifest_of([(640, 640), (60, 60), (480, 320)])
    assert fit_at_resolutions(manifest, params()).table == fit_images(manifest, params()).table


@pytest.mark.parametrize(
    ("areas", "changes", "why"),
    [
        ((32 * 32, 64 * 64), {}, "must end with max_area_px"),
        ((5000, 64 * 64, 128 * 128), {}, "must rise"),
        ((16000, 128 * 128), {}, "1.5 times"),
        ((64 * 64, 128 * 128), {"sizes": "sdxl"}, "sizes: null"),
        ((128 * 128,), {}, "at least 2 items"),
        ((128, 128 * 128), {"step_px": 16}, "so no bucket fits"),
    ],
)
def test_resolutions_that_make_no_sense_are_refused(
    areas: tuple[int, ...], changes: dict[str, object], why: str
) -> None:
    with pytest.raises(ValidationError, match=why):
        params(**LIMITS, resolutions=areas, **changes)
