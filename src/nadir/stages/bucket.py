"""Stage `bucket`: give every image a canvas."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nadir.config.bucket import BucketParams
from nadir.config.reader import read_section
from nadir.data.buckets.resolutions import fit_at_resolutions
from nadir.data.quarantine import Reason
from nadir.data.tables import BUCKETS, MANIFEST, QUARANTINE, read_table, write_table
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.events import emit, say
from nadir.ground.files import write_json, write_text
from nadir.stages.runner import run

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.buckets.assignment import FittedImages

_PERCENTILES = (1, 5, 25, 50)
_FIXES = {
    Reason.EXTREME_ASPECT: "crop the image, raise bucket.max_log_aspect_error, or allow longer "
    "buckets by bucket.max_side_px and bucket.max_aspect_ratio",
    Reason.TOO_SMALL: "find a larger version, lower bucket.max_area_px, or set bucket.upscale: "
    "allow",
}


def work() -> None:
    """Write the bucket table, what it leaves out and why, the metrics and the plot.

    Raises:
        NadirError: No image fits a bucket.
    """
    manifest = read_table(
        artifacts.MANIFEST, MANIFEST, columns=["sha256", "width", "height", "split"]
    )
    params = read_section("bucket", BucketParams)
    fitted = fit_at_resolutions(manifest, params)
    if not fitted.table.num_rows:
        raise NadirError(
            f"no image fits a bucket ({fitted.excluded_aspect} of too extreme aspect ratio, "
            f"{fitted.excluded_upscale} smaller than their bucket)",
            where="params.yaml bucket",
            fix="raise max_log_aspect_error, widen min_side_px to max_side_px, "
            "lower max_area_px, or set upscale: allow",
        )
    write_table(fitted.table, artifacts.BUCKETS, BUCKETS)
    write_table(_excluded(fitted, manifest), artifacts.BUCKET_QUARANTINE, QUARANTINE)
    _write_uses(fitted, artifacts.BUCKET_USES)
    report = _report(fitted)
    several = ""
    if params.resolutions is not None:
        report["canvases"] = fitted.table.num_rows
        several = f"{fitted.table.num_rows:,} canvases at {len(params.resolutions)} resolutions, "
    write_json(artifacts.BUCKET_NUMBERS, report)
    say(
        f"bucket: {report['images']:,} images in {report['buckets']} buckets, {several}"
        f"{report['mean_retained_area']:.1%} of their area kept, {report['upscaled']:,} upscaled; "
        f"excluded: {fitted.excluded_aspect:,} by aspect, {fitted.excluded_upscale:,} by size"
    )
    emit("result", stage="bucket", **report)


def _report(fitted: FittedImages) -> dict[str, Any]:
    """The metrics; of the retained areas the mean and what all but a few per cent exceed."""
    retained = fitted.table["retained_area"].to_numpy()
    places = np.percentile(retained, _PERCENTILES).tolist()
    return {
        "buckets": len(fitted.uses),
        "images": fitted.images,
        "excluded": {"aspect": fitted.excluded_aspect, "upscale": fitted.excluded_upscale},
        "mean_retained_area": float(retained.mean()),
        "retained_area_percentiles": {
            f"p{name:02}": value for name, value in zip(_PERCENTILES, places, strict=True)
        },
        "upscaled": fitted.upscaled,
    }


def _excluded(fitted: FittedImages, manifest: pa.Table) -> pa.Table:
    """A `QUARANTINE` table of the images without a bucket, in the manifest's order."""
    rows = np.flatnonzero(fitted.too_far | fitted.too_small)
    if not len(rows):
        return QUARANTINE.empty_table()
    paths = read_table(artifacts.MANIFEST, MANIFEST, columns=["path"])["path"].take(pa.array(rows))
    sizes = manifest.select(["width", "height"]).take(pa.array(rows))
    pairs = zip(*(column.to_pylist() for column in sizes.columns), strict=True)
    reasons = [
        Reason.EXTREME_ASPECT if far else Reason.TOO_SMALL for far in fitted.too_far[rows].tolist()
    ]
    details = {
        Reason.EXTREME_ASPECT: "of {}x{} pixels, too far from every bucket's aspect ratio",
        Reason.TOO_SMALL: "of {}x{} pixels, smaller than its bucket",
    }
    return pa.table(
        {
            "path": paths,
            "reason": [reason.value for reason in reasons],
            "detail": [details[r].format(*size) for r, size in zip(reasons, pairs, strict=True)],
            "fix": [_FIXES[reason] for reason in reasons],
        }
    )


def _write_uses(fitted: FittedImages, path: Path) -> None:
    lines = ["bucket,images,train,upscaled,retained_area"]
    lines += [
        f"{use.width}x{use.height},{use.images},{use.train},{use.upscaled},{use.retained_area:.6f}"
        for use in fitted.uses
    ]
    write_text(path, "\n".join(lines) + "\n")


def main() -> None:
    """Entry point."""
    run("bucket", work)


if __name__ == "__main__":
    main()
