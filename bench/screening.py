"""What `validate` does once every image has been looked at, and its gate.

Synthetic facts with 35 tags an image, a fifth of the images within two bits of an earlier one, and
one in fifty unusable, held as inspection hands them over. Screen: a verdict on each row,
quarantine. Split: groups of near-duplicates, hold-out, totals and profile. Write: the manifest.
Gate: the Great Expectations suite on it, its own start of a few seconds included. The peak is of
all of it, Python, its libraries and the synthetic facts included; facts: that of the facts alone.
With `--beside FOLDER`, the checkout of another build, each is made in turn with that build's; their
manifests, quarantines, totals, profiles and findings are equal by value, or nothing is written.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench.booru import TagModel, draw_tags, hashes, sizes
from bench.performance import PAGE, POSTS, cost, write
from bench.results import ROOT, table

from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data import tables
from nadir.data.gate.expectations import run_gate
from nadir.data.gate.suite import suite
from nadir.data.gate.summary import split
from nadir.data.gate.verdicts import screen
from nadir.data.inspection.listing import FACTS, TAG_FACTS, ListingFacts
from nadir.data.tables import LISTING, MANIFEST, QUARANTINE, write_table
from nadir.data.vocabulary import load_vocabulary

try:
    from nadir.data.coded_tags import TagBook
except ImportError:  # the build before
    TagBook = None

if TYPE_CHECKING:
    from nadir.data.gate.summary import Dataset
    from nadir.data.gate.verdicts import Screened

_PARTS = ("screen", "split", "write", "gate")
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
    book = TagBook() if TagBook else None
    parts = [
        posts_looked_at(start, min(POSTS_AT_ONCE, count - start), model, rng, book)
        for start in range(0, count, POSTS_AT_ONCE)
    ]
    listing, facts, tags = (pa.concat_tables(kind) for kind in zip(*parts, strict=True))
    place = facts.column_names.index("perceptual_hash")
    facts = facts.set_column(place, FACTS.field(place), look_alikes(count, rng))
    return listing, ListingFacts(facts, tags, count, **({"book": book} if book else {}))


def posts_looked_at(
    start: int, count: int, model: TagModel, rng: np.random.Generator, book: Any
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """A part of a listing, and the facts of its images and of their tags."""
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
    found = {"written": written, "well_formed": written}
    about = _table({"tags": tags, **found}, TAG_FACTS, count)
    if book:
        about = about.set_column(0, "tags", book.encode(tags))
    return _table(listing, LISTING, count), _table(facts, FACTS, count), about


def _table(columns: dict[str, Any], schema: pa.Schema, count: int) -> pa.Table:
    filled = {field.name: columns.get(field.name, pa.nulls(count, field.type)) for field in schema}
    return pa.table(filled, schema=schema)


def measure(folder: Path, posts: int) -> dict[str, Any]:
    """Seconds of each part, and what came out."""
    params = read_section("validate", ValidateParams, PAGE.parents[1] / "params.yaml")
    looked, vocabulary = [looked_at(posts)], load_vocabulary()
    facts_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    screened: list[Screened] = []
    took = {"screen": cost(lambda: screened.append(screen(*looked.pop(), params, vocabulary)))}
    dataset: list[Dataset] = []
    took["split"] = cost(lambda: dataset.append(split(screened.pop(), listed=posts, params=params)))
    found, path, left_out = dataset.pop(), folder / "manifest.parquet", folder / "q.parquet"
    took["write"] = cost(lambda: _write(found.manifest, path))
    write_table(found.quarantine, left_out, QUARANTINE)
    said: list[Any] = [found.totals, found.profile, found.colours, found.ratings, found.splits]
    outcomes: list[Any] = []
    took["gate"] = cost(
        lambda: outcomes.extend(run_gate(suite(params), manifest=path, totals=said[0]))
    )
    said += [[each.text for each in outcomes]]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    said += [digest(file) for file in (path, left_out)]
    return {"took": took, "facts_gb": facts_gb, "peak_gb": peak, "said": said}


def digest(path: Path) -> str:
    """Of a table's values, however they lie in the file."""
    found = hashlib.sha256()
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            sink = pa.BufferOutputStream()
            whole = file.read_row_group(group).combine_chunks()
            with pa.ipc.new_stream(sink, whole.schema) as stream:
                stream.write_table(whole)
            found.update(sink.getvalue())
    return found.hexdigest()


def _write(manifest: Any, path: Path) -> None:
    if isinstance(manifest, pa.Table):  # the build before
        write_table(manifest, path, MANIFEST)
    else:
        tables.write_groups(manifest.pieces(), path, MANIFEST)


def measured_with(build: Path, posts: int) -> dict[str, Any]:
    """`measure` by a build's own code, in a process of its own."""
    command = [sys.executable, "-m", "bench.screening", "--one", str(posts)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(build / "src"), str(ROOT)])}
    done = subprocess.run(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def cells(name: str, posts: int, found: dict[str, Any]) -> list[str]:
    """A row of the table."""
    took = found["took"]
    times = [f"{took[part][1]:.2f}" for part in _PARTS]
    micros = sum(took[part][1] for part in ("screen", "split", "gate")) / posts * 1e6
    memory = [f"{found[part]:.2f}" for part in ("facts_gb", "peak_gb")]
    return [f"{posts:,}, {name}", *times, f"{micros:.1f}", *memory]


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--posts", type=int, nargs="+", default=POSTS)
    parser.add_argument("--beside", type=Path, help="checkout of another build")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(measure(Path(folder), options.one)))
        return
    before = {"the build before": options.beside.resolve()} if options.beside else {}
    builds, rows = {"this build": ROOT} | before, []
    for posts in options.posts:
        found = {name: measured_with(build, posts) for name, build in builds.items()}
        if any(one["said"] != found["this build"]["said"] for one in found.values()):
            raise RuntimeError("the builds find different things")
        rows += [cells(name, posts, one) for name, one in found.items()]
    header = ["images", *(f"{part}, CPU s" for part in _PARTS)]
    header += ["CPU µs/image", "facts, GB", "peak, GB"]
    write("Screening and gate", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
