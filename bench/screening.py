"""What `validate` does once every image has been looked at, and its gate.

Synthetic facts with 35 tags an image, a fifth of the images within two bits of an earlier one, and
one in fifty unusable. Screen: a verdict on each row, the manifest with classes of tags, quarantine.
Groups: near-duplicates among all hashes, alone. Split: groups once more, hold-out, totals and
profile; of it, `leaks` is the search for held-out images that look like a training image. Gate: the
Great Expectations suite on the written manifest, its own start of a few seconds included.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from bench.booru import TagModel, draw_tags, hashes, sizes
from bench.performance import PAGE, alone, cost, posts_from_arguments, write
from bench.results import table

from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.gate.expectations import run_gate
from nadir.data.gate.leaks import leaking_images
from nadir.data.gate.near_duplicates import hash_values, near_duplicate_groups
from nadir.data.gate.suite import suite
from nadir.data.gate.summary import split
from nadir.data.gate.verdicts import screen
from nadir.data.inspection.listing import FACTS, TAG_FACTS, ListingFacts
from nadir.data.tables import LISTING, MANIFEST, write_table
from nadir.data.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.gate.summary import Dataset
    from nadir.data.gate.verdicts import Screened

POSTS_AT_ONCE = 100_000
_COPIES, _UNREADABLE = 0.2, 0.02


def look_alikes(count: int, rng: np.random.Generator) -> pa.Array:
    """Perceptual hashes, some of them up to two bits from an earlier one."""
    values = rng.integers(0, 1 << 64, count, dtype=np.uint64)
    copies = np.flatnonzero(rng.random(count) < _COPIES)[1:]
    bits = np.uint64(1) << rng.integers(0, 64, (2, len(copies)), dtype=np.uint64)
    values[copies] = values[(copies * rng.random(len(copies))).astype(np.int64)] ^ bits[0] ^ bits[1]
    text = values.astype(">u8").tobytes().hex().encode()
    offsets = np.arange(count + 1, dtype=np.int32) * 16
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets), pa.py_buffer(text))


def looked_at(count: int) -> tuple[pa.Table, ListingFacts]:
    """A listing, and what inspection would have found."""
    rng, model = np.random.default_rng(0), TagModel.load()
    parts = [
        _looked_at(start, min(POSTS_AT_ONCE, count - start), model, rng)
        for start in range(0, count, POSTS_AT_ONCE)
    ]
    listing, facts, tags = (pa.concat_tables(kind) for kind in zip(*parts, strict=True))
    place = facts.column_names.index("perceptual_hash")
    facts = facts.set_column(place, FACTS.field(place), look_alikes(count, rng))
    return listing, ListingFacts(facts, tags, count)


def _looked_at(
    start: int, count: int, model: TagModel, rng: np.random.Generator
) -> tuple[pa.Table, pa.Table, pa.Table]:
    names = [f"{number // 1000:04}/{number:07}.jpg" for number in range(start, start + count)]
    widths, heights = sizes(count, rng)
    bad = pa.array(rng.random(count) >= _UNREADABLE)
    tags = draw_tags(model, count, rng)
    written = tags.value_lengths()
    listing = {"path": pa.array(names), "size": np.full(count, 10**6)}
    facts = {
        "sha256": hashes(count, rng),
        "width": widths,
        "height": heights,
        "format": pa.array(["jpeg"] * count),
        "mean_luminance": rng.random(count, dtype=np.float32),
        "reason": pa.nulls(count, pa.string()).fill_null("unreadable"),
        "detail": pa.nulls(count, pa.string()).fill_null("broken data stream"),
    }
    for name in ("reason", "detail"):
        facts[name] = pa.compute.if_else(bad, None, facts[name])
    found = {"tags": tags, "written": written, "well_formed": written}
    return (
        _table(listing, LISTING, count),
        _table(facts, FACTS, count),
        _table(found, TAG_FACTS, count),
    )


def _table(columns: dict[str, Any], schema: pa.Schema, count: int) -> pa.Table:
    filled = {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}
    return pa.table(filled, schema=schema)


def measure(folder: Path, posts: int) -> dict[str, Any]:
    """Seconds of each part."""
    params = read_section("validate", ValidateParams, PAGE.parents[1] / "params.yaml")
    looked, vocabulary = [looked_at(posts)], load_vocabulary()
    screened: list[Screened] = []
    dataset: list[Dataset] = []
    took = {"screen": cost(lambda: screened.append(screen(*looked.pop(), params, vocabulary)))}
    values = hash_values(screened[0].manifest["perceptual_hash"].to_pylist())
    took["groups"] = cost(lambda: near_duplicate_groups(values))
    took["split"] = cost(lambda: dataset.append(split(screened.pop(), listed=posts, params=params)))
    took["leaks"] = cost(lambda: leaking_images(dataset[0].manifest))
    path, totals = folder / "manifest.parquet", dataset[0].totals
    write_table(dataset.pop().manifest, path, MANIFEST)
    took["gate"] = cost(lambda: run_gate(suite(params), manifest=path, totals=totals))
    return took


def main() -> None:
    """Measure and write the section."""
    rows = []
    for posts in posts_from_arguments(__doc__):
        found = alone(measure, posts)
        peak = found.pop("peak_gb")
        times = (f"{part:.2f}" for took in found.values() for part in took)
        micros = sum(took[1] for name, took in found.items() if name in ("screen", "split", "gate"))
        rows.append([f"{posts:,}", *times, f"{micros / posts * 1e6:.1f}", f"{peak:.1f}"])
    header = ["images"]
    for name in ("screen", "groups", "split", "leaks", "gate"):
        header += [f"{name}, s", "CPU, s"]
    header += ["CPU µs/image", "GB"]
    write("Screening and gate", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
