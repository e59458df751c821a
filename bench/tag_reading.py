"""Reading what is written about images: texts, JSON, and both for one image.

Images carry 35 tags on average, drawn from the model of `bench/booru.py`. A text is a line of them
between commas; a post is what a booru's API gives, all tags and tags by class; a row is a post as
the index of a metadata file keeps it. Text and post: both beside one image, read as one. Rows:
JSON lines of posts read and cut down, as `ingest` does once for each version of a file. Beside: the
files beside images found among names in memory, a text for each, and a text and JSON for each.
Microseconds of one processor an image, the least of several rounds.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from bench.booru import TagModel, draw_tags
from bench.performance import write
from bench.results import table

from nadir.data.sources.interfaces import FILES
from nadir.data.sources.layouts.sidecars import list_sidecars
from nadir.data.sources.rows.metadata_rows import scan
from nadir.data.sources.stores.local import LocalStore
from nadir.data.tag_text import parse_sources, parse_tag_file, short_row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_ROUNDS = 5
_POSTS = 4000
_CLASSES = ("general", "character", "copyright", "artist", "meta")


def posts(count: int) -> list[dict[str, Any]]:
    """Posts as a booru's API gives them."""
    drawn = draw_tags(TagModel.load(), count, np.random.default_rng(0)).to_pylist()
    return [_post(number, tags) for number, tags in enumerate(drawn)]


def _post(number: int, tags: list[dict[str, str]]) -> dict[str, Any]:
    strings = {
        f"tag_string_{kind}": " ".join(tag["name"] for tag in tags if tag["class"] == kind)
        for kind in _CLASSES
    }
    return {
        "id": number,
        "created_at": "2024-05-01T00:00:00.000-04:00",
        "score": 12,
        "md5": f"{number:032x}",
        "rating": "gsqe"[number % 4],
        "image_width": 1200,
        "image_height": 1600,
        "file_ext": "jpg",
        "tag_string": " ".join(sorted(tag["name"] for tag in tags)),
        "tag_count": len(tags),
        "file_url": f"https://cdn.example.org/original/{number:032x}.jpg",
        **strings,
    }


def text_of(post: dict[str, Any]) -> bytes:
    """A post's tags as a text beside the image."""
    tags = str(post["tag_string"]).split()
    return ", ".join(tag.replace("_", " ") for tag in tags).encode()


def least(work: Callable[[], Any], count: int) -> float:
    """Microseconds of processor time an image, the least of several rounds."""
    found = []
    for _ in range(_ROUNDS):
        gc.collect()
        started = time.process_time()
        work()
        found.append(time.process_time() - started)
    return min(found) / count * 1e6


def measured(count: int) -> Iterator[tuple[str, float]]:
    """(what, microseconds an image)."""
    made = posts(count)
    texts = [text_of(post) for post in made]
    wholes = [json.dumps(post).encode() for post in made]
    rows = [json.dumps(short_row(post)).encode() for post in made]
    yield "text", least(lambda: [parse_tag_file(data, "x.txt") for data in texts], count)
    yield "post", least(lambda: [parse_tag_file(data, "x.json") for data in wholes], count)
    name = "posts.jsonl#000001"
    yield "row", least(lambda: [parse_tag_file(data, name) for data in rows], count)
    pairs = list(zip(texts, wholes, strict=True))
    both = least(
        lambda: [parse_sources([(text, "x.txt"), (post, "x.json")]) for text, post in pairs], count
    )
    yield "text and post", both
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "posts.jsonl").write_bytes(b"\n".join(wholes) + b"\n")
        store = LocalStore(folder)
        version = store.stat("posts.jsonl")[1]
        yield "rows", least(lambda: list(scan(store, "posts.jsonl", version)), count)


def named(count: int, endings: tuple[str, ...]) -> pa.Table:
    """Names of images and of files beside them, as a store lists them."""
    stems = [f"{number // 1000:04}/{number:07}" for number in range(count)]
    paths = pa.array([f"{stem}{ending}" for stem in stems for ending in sorted(endings)])
    sizes = pa.array(np.full(len(paths), 1000))
    return pa.Table.from_arrays([paths, sizes, pa.repeat("1", len(paths))], schema=FILES)


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=600_000, help="names to look among")
    images = parser.parse_args().images
    rows = [[what, f"{took:.1f}"] for what, took in measured(_POSTS)]
    for endings in ((".jpg", ".txt"), (".jpg", ".json", ".txt")):
        files = named(images, endings)
        took = least(lambda files=files: list_sidecars(files), images)  # type: ignore[misc]
        rows.append([f"beside {images:,} images: {' '.join(endings[1:])}", f"{took:.2f}"])
    body = (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(["what", "µs/image"], rows)
    write("Reading tags", body)


if __name__ == "__main__":
    main()
