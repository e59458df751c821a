"""Listing a source, and writing the tables that name its images.

The folder holds empty files `123/0123456.jpg` with a tag file beside each, 1,000 images a
subfolder, just made, so the system has them in memory; listing takes one `stat` a file. `listing`
and `manifest` are the tables of that many rows as the stages write them; the manifest has 35 tags
an image. Writing includes the check of columns and the sync to disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
from bench.booru import manifests
from bench.performance import alone, posts_from_arguments, seconds, table, write

from nadir.data.sources.detect import open_source
from nadir.data.tables import LISTING, MANIFEST, write_table

if TYPE_CHECKING:
    from pathlib import Path


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
    source = folder / "source"
    source.mkdir()
    make_folder(source, posts)
    found: list[pa.Table] = []
    took = seconds(lambda: found.append(open_source(str(source), "folder").list_images().table))
    writing = seconds(lambda: write_table(found[0], folder / "listing.parquet", LISTING))
    size = (folder / "listing.parquet").stat().st_size
    return {"list": took, "write": writing, "mb": size / 1e6, "rows": found[0].num_rows}


def measure_manifest(folder: Path, posts: int) -> dict[str, Any]:
    """Seconds to write the manifest of `posts` images."""
    whole = pa.concat_tables(manifests(posts))
    took = seconds(lambda: write_table(whole, folder / "manifest.parquet", MANIFEST))
    return {"write": took, "mb": (folder / "manifest.parquet").stat().st_size / 1e6}


def main() -> None:
    """Measure and write the section."""
    rows = []
    for posts in posts_from_arguments(__doc__):
        listed, manifest = alone(measure_listing, posts), alone(measure_manifest, posts)
        rows.append(
            [
                f"{posts:,}",
                f"{listed['list']:.1f}",
                f"{listed['list'] / posts * 1e6:.1f}",
                f"{listed['write']:.1f}",
                f"{listed['mb']:.0f}",
                f"{listed['peak_gb']:.1f}",
                f"{manifest['write']:.1f}",
                f"{manifest['write'] / posts * 1e6:.1f}",
                f"{manifest['mb']:.0f}",
                f"{manifest['peak_gb']:.1f}",
            ]
        )
    header = ["images", "list, s", "µs/image", "listing, s", "MB", "GB"]
    header += ["manifest, s", "µs/image", "MB", "GB"]
    write("Listing and manifest", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
