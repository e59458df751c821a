"""Listing a source, and writing the tables that name its images.

The folder holds empty files `0123/0123456.jpg` with a tag file beside each, 1,000 images a
subfolder, just made, so the system has them in memory; listing takes one `stat` a file. Beside it
`bare`: `os.scandir` and a `stat` of every file and nothing else, in turns in the same process, of
each the least processor time of three rounds. Six million
images would be twelve million files, so there the rows are made, not found. `listing` and
`manifest` are the tables of that many rows as the stages write them; the manifest has 35 tags an
image, coded, and lies in memory as a whole. Writing includes the check of columns and the sync to
disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.performance import alone, cost, manifests_from_arguments, write
from bench.results import table

from nadir.data.coded_tags import TAG_LEAVES
from nadir.data.sources.detect import open_source
from nadir.data.tables import LISTING, MANIFEST, write_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


_MOST_FILES = 600_000
_ROUNDS = 3


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
    source, took, bare = folder / "source", None, None
    found: list[pa.Table] = []
    if posts > _MOST_FILES:
        found.append(made_listing(posts))
    else:
        source.mkdir()
        make_folder(source, posts)
        bare, took = _in_turns(
            lambda: bare_walk(str(source)),
            lambda: found.append(open_source(str(source), "folder").list_images().table),
        )
    writing = cost(lambda: write_table(found[0], folder / "listing.parquet", LISTING))
    size = (folder / "listing.parquet").stat().st_size
    return {
        "bare": bare,
        "list": took,
        "write": writing,
        "mb": size / 1e6,
        "rows": found[0].num_rows,
    }


def bare_walk(folder: str) -> int:
    """Size of all files below a folder: what the system alone takes."""
    size, folders = 0, [folder]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += entry.stat().st_size
    return size


def _in_turns(*works: Callable[[], Any]) -> list[tuple[float, float]]:
    """(wall, processor) seconds of each, from its round of the least processor time."""
    rounds = [[cost(work) for work in works] for _ in range(_ROUNDS)]
    return [min(took, key=lambda pair: pair[1]) for took in zip(*rounds, strict=True)]


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
    # As `validate` holds them: tags are coded, not text.
    whole = pq.read_table(manifest, read_dictionary=TAG_LEAVES)
    took = cost(lambda: write_table(whole, folder / "manifest.parquet", MANIFEST))
    return {"write": took, "mb": (folder / "manifest.parquet").stat().st_size / 1e6}


def _time_cells(took: tuple[float, float], posts: int) -> list[str]:
    """Seconds, of all processors, and microseconds of them an image."""
    return [f"{took[0]:.1f}", f"{took[1]:.1f}", f"{took[1] / posts * 1e6:.1f}"]


def _list_cells(listed: dict[str, Any], posts: int) -> list[str]:
    if not listed["list"]:
        return ["-"] * 5
    bare, took = listed["bare"], listed["list"]
    return [f"{bare[1]:.2f}", *_time_cells(took, posts), f"{took[1] / bare[1]:.2f}"]


def main() -> None:
    """Measure and write the section."""
    rows = []
    for posts, path in manifests_from_arguments(__doc__):
        listed, manifest = alone(measure_listing, posts), alone(measure_manifest, path)
        rows.append(
            [
                f"{posts:,}",
                *_list_cells(listed, posts),
                *_time_cells(listed["write"], posts),
                f"{listed['mb']:.0f}",
                f"{listed['peak_gb']:.1f}",
                *_time_cells(manifest["write"], posts),
                f"{manifest['mb']:.0f}",
                f"{manifest['peak_gb']:.1f}",
            ]
        )
    header = ["images", "bare, CPU s", "list, s", "CPU, s", "µs/image", "list : bare"]
    for name in ("listing", "manifest"):
        header += [f"{name}, s", "CPU, s", "µs/image", "MB", "GB"]
    write("Listing and manifest", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
