"""Bucketing: time by number of images, and what lists of sizes crop and waste.

Time is of `fit_images` (nearest bucket, merging, resize, crop window, report) on columns in memory,
the best of three; `by seed` is with crop windows drawn from each image's hash, `square` with one
square of 1024² for all images that it fits. The stage adds reading the manifest and writing its
table. The aspect mix is `nadir.data.buckets.aspects`: k-means centroids of a booru's images, 0.17
to 1.86, nearly half of them between 0.63 and 0.92. The preset's list was chosen on this very mix;
on another it crops more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bench.booru import geometry
from bench.performance import PAGE, alone, cost, posts_from_arguments, seconds, write
from bench.results import table

from nadir.config.bucket import BucketParams
from nadir.config.reader import read_section
from nadir.data.buckets.aspects import aspect_quantile
from nadir.data.buckets.assignment import bucket_sizes, fit_images
from nadir.data.tables import BUCKETS, write_table

if TYPE_CHECKING:
    from pathlib import Path

_IMAGES = 200_000
_GRID = {"step_px": 64, "min_side_px": 512, "max_side_px": 2048, "max_buckets": None}
LISTS: dict[str, dict[str, Any]] = {
    "square crop": {"sizes": ((1024, 1024),)},
    "grid 1024²/64, 512 to 2048": _GRID,
    "SDXL's 40": {"sizes": "sdxl"},
    "best 40 of the 32 grid, 512 to 2048": _GRID | {"step_px": 32, "max_buckets": 40},
    "best 40 of the 32 grid, 416 to 2496 (presets/sdxl.yaml)": {},
}


def preset(**changes: Any) -> BucketParams:
    """The SDXL preset's buckets with changes."""
    params = read_section("bucket", BucketParams, PAGE.parents[1] / "presets" / "sdxl.yaml")
    return BucketParams.model_validate(params.model_dump() | changes)


def measure(folder: Path, posts: int) -> dict[str, Any]:
    """Seconds to fit `posts` images, and to write their table."""
    images, params = geometry(posts), preset()
    random, square = preset(crop="random"), preset(**LISTS["square crop"])
    fitted = fit_images(images, params)
    return {
        "fit": min(cost(lambda: fit_images(images, params)) for _ in range(3)),
        "random": min(cost(lambda: fit_images(images, random)) for _ in range(3)),
        "square": min(cost(lambda: fit_images(images, square)) for _ in range(3)),
        "write": seconds(lambda: write_table(fitted.table, folder / "b.parquet", BUCKETS)),
        "buckets": len(fitted.uses),
        "loss": 1 - float(fitted.table["retained_area"].to_numpy().mean()),
        "excluded": fitted.excluded_aspect,
    }


def losses(name: str) -> list[str]:
    """A row of the table of lists: what each does to the mix, of which nothing is left out."""
    sizes = np.array(bucket_sizes(preset(**LISTS[name])))
    ratios = aspect_quantile((np.arange(_IMAGES) + 0.5) / _IMAGES)
    distance = np.abs(ratios[:, None] - np.log(sizes[:, 0] / sizes[:, 1]))
    nearest, error = distance.argmin(axis=1), distance.min(axis=1)
    kept, near = np.exp(-error), error <= preset().max_log_aspect_error
    use = sizes.prod(axis=1)[nearest] / 1024**2
    shares = (1 - kept.mean(), 1 - kept[near].mean(), 1 - near.mean(), 1 - (kept * use).mean())
    return [name, str(len(sizes)), *(f"{share:.2%}" for share in shares), f"{1 - use.mean():.2%}"]


def main() -> None:
    """Measure and write the section."""
    rows = []
    for posts in posts_from_arguments(__doc__):
        found = alone(measure, posts)
        rows.append(
            [
                f"{posts:,}",
                *(f"{part:.2f}" for part in found["fit"]),
                f"{found['fit'][1] / posts * 1e6:.2f}",
                *(f"{part:.2f}" for part in found["random"]),
                *(f"{part:.2f}" for part in found["square"]),
                f"{found['write']:.2f}",
                str(found["buckets"]),
                f"{found['loss']:.2%}",
                f"{found['excluded']:,}",
                f"{found['peak_gb']:.1f}",
            ]
        )
    header = ["images", "fit, s", "CPU, s", "CPU µs/image", "by seed, s", "CPU, s"]
    header += ["square, s", "CPU, s", "write, s", "buckets", "mean crop", "left out", "GB"]
    body = (__doc__ or "").split("\n\n", 1)[1].strip() + "\n\n" + table(header, rows)
    body += (
        "\n\nLists on the same mix. Cropped: mean share of an image's area that is cut off, of all "
        "images, and of those that stay when images beyond a log-aspect error of 0.405 are left "
        "out. Padded: what padding to the bucket instead of cropping would fill with nothing, and "
        "what of 1024² the canvases do not use, together; unused: the latter alone.\n\n"
    )
    header = ["list", "sizes", "cropped", "of those kept", "left out", "padded", "unused"]
    write("Bucketing", body + table(header, [losses(name) for name in LISTS]))


if __name__ == "__main__":
    main()
