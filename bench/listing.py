"""Listing a source, and writing the tables that name its images.

The folder holds empty files `0123/0123456.jpg` with a tag file beside each, 1,000 images a
subfolder, just made, so the system has them in memory; listing takes one `stat` a file. Six million
images would be twelve million files, so there the rows are made, not found. `listing` and
`manifest` are the tables of that many rows as the stages write them; the manifest has 35 tags an
image and lies in memory as a whole. Writing includes the check of columns and the sync to disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.performance import alone, cost, manifests_from_arguments, write
from bench.results import table

from nadir.data.sources.detect import open_source
from nadir.data.tables import LISTING, MANIFEST, write_table

if TYPE_CHECKING:
    from pathlib import Path


_MOST_FILES = 600_000


def make_folder(folder: Path, posts: int) -> None:
    """Images and tag files, all empty."""
    for start in range(0, posts, 1000):
        part = folder / f"{start // 1000:04}"
        part.mkdir()
        for number in range(start, min(start + 1000, posts)):
            (part / f"{number:07}.jpg").touch()
            (part / f"{number:07}.txt").touch()


def measure_listing(folder: Path, posts: int) -> dict[str, Any]:
    """Seconds to list `posts` images and to write their table."""
    source, took = folder / "source", None
    found: list[pa.Table] = []
    if posts > _MOST_FILES:
        found.append(made_listing(posts))
    else:
        source.mkdir()
        make_folder(source, posts)
        took = cost(lambda: found.append(open_source(str(source), "folder").list_images().table))
    writing = cost(lambda: write_table(found[0], folder / "listing.parquet", LISTING))
    size = (folder / "listing.parquet").stat().st_size
    return {"list": took, "write": writing, "mb": size / 1e6, "rows": found[0].num_rows}


def made_listing(posts: int) -> pa.Table:
    """What listing such a folder would give."""
    stems = [f"{number // 1000:04}/{number:07}" for number in range(posts)]
    columns: dict[str, Any] = {"path": pa.array([f"{stem}.jpg" for stem in stems])}
    columns["tags_path"] = pa.array([f"{stem}.txt" for stem in stems])
    columns |= {name: pa.array(np.arange(posts)) for name in ("size", "tags_size")}
    times = pa.array(np.arange(posts) + 10**18).cast(pa.string())
    columns |= {"version": times, "tags_version": times}
    columns |= {name: pa.nulls(posts, pa.string()) for name in ("problem", "detail")}
    columns["repeats"] = pa.nulls(posts, pa.int32())
    return pa.table(columns)


def measure_manifest(folder: Path, manifest: Path) -> dict[str, Any]:
    """Seconds to write a manifest anew."""
    whole = pq.read_table(manifest)
    took = cost(lambda: write_table(whole, folder / "manifest.parquet", MANIFEST))
    return {"write": took, "mb": (folder / "manifest.parquet").stat().st_size / 1e6}


def _time_cells(took: tuple[float, float], posts: int) -> list[str]:
    """Seconds, of all processors, and microseconds of them an image."""
    return [f"{took[0]:.1f}", f"{took[1]:.1f}", f"{took[1] / posts * 1e6:.1f}"]


def main() -> None:
    """Measure and write the section."""
    rows = []
    for posts, path in manifests_from_arguments(__doc__):
        listed, manifest = alone(measure_listing, posts), alone(measure_manifest, path)
        rows.append(
            [
                f"{posts:,}",
                *(_time_cells(listed["list"], posts) if listed["list"] else ["-"] * 3),
                *_time_cells(listed["write"], posts),
                f"{listed['mb']:.0f}",
                f"{listed['peak_gb']:.1f}",
                *_time_cells(manifest["write"], posts),
                f"{manifest['mb']:.0f}",
                f"{manifest['peak_gb']:.1f}",
            ]
        )
    header = ["images"]
    for name in ("list", "listing", "manifest"):
        header += [f"{name}, s", "CPU, s", "µs/image", *([] if name == "list" else ["MB", "GB"])]
    write("Listing and manifest", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
