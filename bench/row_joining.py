"""Rows of a booru's table joined to members of tars, and listing a folder of images with texts.

Tars: the form in which deepghs gives Danbooru's posts away: `images/0000.tar` of 1,000 members
`ID.webp`, here empty, `images/0000.json` that says where they lie, and one `metadata.parquet` of
posts with 35 tags each. `first` reads the headers of all tars and the whole table, in one process;
`again` is every later `ingest`, as long as neither changes. No build before this one can read the
form. Names: the same posts as JSON lines beside loose images `danbooru_ID_MD5.jpg`, which rows name
by md5 only. Folder: empty files `0123/0123456.jpg` with a text beside each, as a whole and without
the system's walk over the folder; `matching` is what finds the files' forms and each image's texts.
With `--beside FOLDER`, the checkout of another build, each measurement of the folder is made in
turn with that build's.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.booru import TagModel, draw_tags
from bench.listing import make_folder
from bench.performance import alone, cost, write
from bench.results import ROOT, table

from nadir.data.sources.detect import open_source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CLASSES = ("general", "character", "copyright", "artist", "meta")
_MEMBERS = 1000
_PIECE = 20_000
_ROUNDS = 3
_RATINGS = np.array(["g", "s", "q", "e"])


def posts(count: int) -> Iterator[pa.Table]:
    """Posts as deepghs' tables have them, in pieces; each piece has the same tags."""
    tags = draw_tags(TagModel.load(), min(_PIECE, count), np.random.default_rng(0)).to_pylist()
    texts = {"tag_string": [" ".join(tag["name"] for tag in each) for each in tags]}
    for kind in _CLASSES:
        texts[f"tag_string_{kind}"] = [
            " ".join(tag["name"] for tag in each if tag["class"] == kind) for each in tags
        ]
    for start in range(0, count, _PIECE):
        numbers = np.arange(start, min(start + _PIECE, count))
        columns: dict[str, Any] = {"id": numbers, "score": numbers % 100}
        columns["md5"] = [f"{number:032x}" for number in numbers]
        columns["rating"] = _RATINGS[numbers % 4]
        columns |= {name: values[: len(numbers)] for name, values in texts.items()}
        yield pa.table(columns)


def make_tars(folder: Path, count: int) -> None:
    """Tars with an index beside each, and the table of posts."""
    (folder / "images").mkdir(parents=True)
    for part in range(0, count, _MEMBERS):
        name, index = f"{part // _MEMBERS:04}", {}
        with tarfile.open(folder / "images" / f"{name}.tar", "w") as tar:
            for number in range(part, min(part + _MEMBERS, count)):
                info = tarfile.TarInfo(f"{number}.webp")
                tar.addfile(info, io.BytesIO())
                index[info.name] = {"offset": tar.offset, "size": 0}
        text = json.dumps({"filesize": 1, "hash": "0", "files": index})
        (folder / "images" / f"{name}.json").write_text(text, encoding="utf-8")
    writer = None
    for piece in posts(count):
        writer = writer or pq.ParquetWriter(folder / "metadata.parquet", piece.schema)
        writer.write_table(piece, row_group_size=10_000)
    if writer:
        writer.close()


def make_names(folder: Path, count: int) -> None:
    """Loose images named by id and md5, and the posts as JSON lines."""
    for start in range(0, count, _MEMBERS):
        part = folder / f"{start // _MEMBERS:04}"
        part.mkdir(parents=True)
        for number in range(start, min(start + _MEMBERS, count)):
            (part / f"danbooru_{number}_{number:032x}.jpg").touch()
    with (folder / "posts.jsonl").open("w", encoding="utf-8") as file:
        for piece in posts(count):
            file.writelines(json.dumps(row) + "\n" for row in piece.to_pylist())


def measure(folder: Path, make: Callable[[Path, int], None], count: int) -> dict[str, Any]:
    """Seconds of the first and of the second listing; a process of its own makes the files."""
    source = folder / "source"
    process = alone(partial(_make, source), make, count)
    del process
    listed: list[pa.Table] = []

    def work() -> None:
        found = open_source(str(source), "auto", memory=folder / "memory").list_images()
        listed.append(found.table)

    took = [cost(work), cost(work)]
    with_rows = listed[1].column("tags_path").drop_null().length()
    if with_rows != count:
        raise RuntimeError(f"{with_rows:,} of {count:,} rows found their images")
    return {"first": took[0], "again": took[1]}


def _make(source: Path, _: Path, make: Callable[[Path, int], None], count: int) -> dict[str, Any]:
    make(source, count)
    return {}


_LISTING = """
import json, sys, time
from nadir.data.sources.detect import open_source
from nadir.data.sources.stores.local import LocalStore
source, kept = open_source(sys.argv[1], "auto"), []
walk = LocalStore.list_files
def timed(self):
    start = time.process_time()
    found = walk(self)
    kept.append(time.process_time() - start)
    return found
LocalStore.list_files = timed
start = time.process_time()
rows = source.list_images().table.num_rows
print(json.dumps([time.process_time() - start, kept[0], rows]))
"""


def list_with(build: Path, folder: Path) -> tuple[float, float]:
    """Processor seconds to list a folder with a build: as a whole, and of that the walk."""
    paths = os.pathsep.join([str(build / "src"), str(build)])
    done = subprocess.run(
        [sys.executable, "-c", _LISTING, str(folder)],
        env=os.environ | {"PYTHONPATH": paths},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    whole, walk, _ = json.loads(done.stdout)
    return whole, walk


def measure_folder(count: int, beside: Path | None) -> list[list[str]]:
    """The least of several rounds, of this build and the other in turn."""
    builds = {"this build": ROOT} | ({"the build before": beside} if beside else {})
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in builds}
    with tempfile.TemporaryDirectory() as temporary:
        make_folder(Path(temporary), count)
        for _ in range(_ROUNDS):
            for name, build in builds.items():
                took[name].append(list_with(build, Path(temporary)))
    rows = []
    for name, rounds in took.items():
        whole = min(rounds)[0]
        matching = min(each - walk for each, walk in rounds)
        rows.append([f"{count:,}, {name}", f"{whole:.2f}", f"{matching:.2f}"])
    return rows


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, nargs="+", default=(60_000, 600_000))
    parser.add_argument("--beside", type=Path, help="checkout of another build")
    options = parser.parse_args()
    joined, folders = [], []
    for count in options.posts:
        for name, make in (("tars", make_tars), ("names", make_names)):
            found = alone(measure, make, count)
            cells = [f"{seconds:.1f}" for took in ("first", "again") for seconds in found[took]]
            joined.append([f"{count:,}, {name}", *cells, f"{found['peak_gb']:.1f}"])
        folders += measure_folder(count, options.beside)
    header = ["rows", "first, s", "CPU, s", "again, s", "CPU, s", "GB"]
    body = table(header, joined) + "\n\n"
    body += table(
        ["images in a folder", "ingest's listing, CPU s", "of it matching, CPU s"], folders
    )
    write("Rows joined to images", (__doc__ or "").split("\n\n", 1)[1] + "\n" + body)


if __name__ == "__main__":
    main()
