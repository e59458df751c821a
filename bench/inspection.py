"""Inspection against a bare Pillow decode loop with as many processes.

Bare: `Image.open(path).load()`, nothing else, each process over its share of the files. Inspection:
what `validate` does to each file - read, hash (sha256), decode by rule, luminance, perceptual hash,
a watch over crashes and hangs - in its worker processes, results collected in the parent. The files
are the project's own sample pictures, from the page cache; starting processes is not counted. Both
run in turn, and the fastest of several rounds counts.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import os
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from nadir.data.inspection import Limits
from nadir.data.sources.detect import open_source
from nadir.data.survey import inspect_row, lost_row
from nadir.data.synthetic import make_dataset
from nadir.data.workers import in_chunks, map_in_processes

if TYPE_CHECKING:
    from nadir.data.lookup import FileKey

LIMITS = Limits(120_000_000, 1 << 28, (255, 255, 255))
CHUNK = 64


def bare_loop(paths: list[str]) -> float:
    """Seconds to decode the files, one after the other."""
    warnings.simplefilter("ignore")
    started = time.perf_counter()
    for path in paths:
        with contextlib.suppress(OSError), Image.open(path) as image:
            image.load()
    return time.perf_counter() - started


def bare_rate(pool: ProcessPoolExecutor, paths: list[str], processes: int) -> float:
    """Images per second of the bare loops together."""
    shares = [paths[start::processes] for start in range(processes)]
    return len(paths) / max(pool.map(bare_loop, shares))


def inspection_rate(folder: Path, files: list[FileKey], processes: int) -> float:
    """Images per second of inspection, from the first finished chunk on."""
    look = functools.partial(inspect_row, open_source(str(folder), "folder"), LIMITS)
    work = map_in_processes(
        look, in_chunks(files, CHUNK), workers=processes, limit_s=60, lost=lost_row
    )
    # The first chunks of all workers are under way when the first is finished.
    count = -CHUNK * processes
    started = 0.0
    for chunk, _ in work:
        started = started or time.perf_counter()
        count += len(chunk)
    return count / (time.perf_counter() - started)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--times", type=int, default=20, help="how often each file is listed")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    processes = len(os.sched_getaffinity(0))
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(processes, spawn) as pool:
        folder = Path(name)
        make_dataset(folder, images=options.images, seed=0)
        listing = open_source(name, "folder").list_images().table
        columns = [listing.column(key).to_pylist() for key in ("path", "size", "version")]
        files: list[FileKey] = list(zip(*columns, strict=True)) * options.times
        paths = [str(folder / path) for path, _, _ in files]
        bare_rate(pool, paths[:100], processes)  # starts the processes
        bare, ours = [], []
        for _ in range(options.rounds):
            bare.append(bare_rate(pool, paths, processes))
            ours.append(inspection_rate(folder, files, processes))
    report(bare, ours, processes, options)


def report(
    bare: list[float], ours: list[float], processes: int, options: argparse.Namespace
) -> None:
    """Write what was measured."""
    # Not above: it loads torch, which the processes of the bare loop have no use for.
    from bench.results import table, write

    rows = [
        ["bare Pillow loop", f"{max(bare):,.0f}", "1.00"],
        ["inspection", f"{max(ours):,.0f}", f"{max(ours) / max(bare):.2f}"],
    ]
    rounds = ", ".join(f"{one / other:.2f}" for one, other in zip(ours, bare, strict=True))
    body = (__doc__ or "").split("\n\n", 1)[1].strip()
    body += "\n\n" + table(["", "images/s", "ratio"], rows)
    body += f"\n\n{processes} processes, {options.images * options.times:,} files a round, "
    body += f"{options.rounds} rounds; the ratio round by round: {rounds}."
    write("inspection", "Inspection against a bare decode loop", body)


if __name__ == "__main__":
    main()
