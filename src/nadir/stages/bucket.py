"""Stage `bucket`: give every image a canvas."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from nadir.config.bucket import BucketParams
from nadir.config.reader import read_section
from nadir.data.fitting import fit_images
from nadir.data.tables import BUCKETS, MANIFEST, read_table, write_table
from nadir.ground.errors import NadirError
from nadir.ground.events import emit, say
from nadir.ground.files import write_json, write_text
from nadir.stages.runner import run

if TYPE_CHECKING:
    import pyarrow as pa


def work() -> None:
    """Write the bucket table, its metrics and the images-per-bucket plot.

    Raises:
        NadirError: No image fits a bucket.
    """
    manifest = read_table(
        Path("data/manifest.parquet"), MANIFEST, columns=["sha256", "width", "height", "split"]
    )
    fitted = fit_images(manifest, read_section("bucket", BucketParams))
    if not fitted.table.num_rows:
        raise NadirError(
            f"no image fits a bucket ({fitted.excluded_aspect} of too extreme aspect ratio, "
            f"{fitted.excluded_upscale} smaller than their bucket)",
            where="params.yaml bucket",
            fix="raise max_log_aspect_error, widen min_side_px to max_side_px, "
            "lower max_area_px, or set upscale: allow",
        )
    write_table(fitted.table, Path("data/buckets.parquet"), BUCKETS)
    images = _images_per_bucket(fitted.table)
    lines = [f"{width}x{height},{count}" for (width, height), count in images]
    write_text(Path("reports/buckets.csv"), "\n".join(["bucket,images", *lines]) + "\n")
    report = {
        "buckets": len(images),
        "images": fitted.table.num_rows,
        "excluded": {"aspect": fitted.excluded_aspect, "upscale": fitted.excluded_upscale},
        "mean_retained_area": pc.mean(fitted.table["retained_area"]).as_py(),
        "upscaled": fitted.upscaled,
    }
    write_json(Path("reports/buckets.json"), report)
    say(
        f"bucket: {report['images']} images in {report['buckets']} buckets, "
        f"{report['mean_retained_area']:.1%} of their area kept, {report['upscaled']} upscaled; "
        f"excluded: {fitted.excluded_aspect} by aspect, {fitted.excluded_upscale} by size"
    )
    emit("result", stage="bucket", **report)


def _images_per_bucket(table: pa.Table) -> list[tuple[tuple[int, int], int]]:
    """Number of images of each (width, height), from the tallest to the widest bucket."""
    counted = table.group_by(["bucket_width", "bucket_height"]).aggregate([([], "count_all")])
    return sorted(
        ((row["bucket_width"], row["bucket_height"]), row["count_all"])
        for row in counted.to_pylist()
    )


def main() -> None:
    """Entry point."""
    run("bucket", work)


if __name__ == "__main__":
    main()
