"""Inspection against a bare Pillow decode loop with as many processes.

Bare: `Image.open(path).load()`, nothing else, each process over its share of the files. Inspection:
what `validate` does to each file - read, hash (sha256), decode by rule, luminance, perceptual hash,
a watch over crashes and hangs - in its worker processes, results collected in the parent. The files
are the project's own sample pictures, from the page cache; starting processes is not counted. Both
run in turn, and the fastest of several rounds counts. By format: pictures drawn at 1200 x 1600 and
saved in each; where there is alpha, it falls off towards one side. Processor time an image, one
process without the crew around it, the least of several rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import multiprocessing
import os
import random
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.performance import cost
from bench.results import table, write
from PIL import Image

from nadir.compute.process_pool import in_chunks, map_in_processes
from nadir.data.inspection.inspection import Limits
from nadir.data.inspection.listing import inspect_row, lost_row
from nadir.data.sources.detect import open_source
from nadir.synthetic import draw_scene, make_dataset

if TYPE_CHECKING:
    from nadir.data.inspection.remembered import FileKey

LIMITS = Limits(120_000_000, 1 << 28, (255, 255, 255))
CHUNK = 64
DRAWN = 6
SIZE = (1200, 1600)
FORMATS = {
    "JPEG": ("RGB", "JPEG"),
    "PNG": ("RGB", "PNG"),
    "PNG, RGBA": ("RGBA", "PNG"),
    "PNG, grey with alpha": ("LA", "PNG"),
    "PNG, palette": ("P", "PNG"),
    "GIF": ("P", "GIF"),
    "WebP": ("RGB", "WEBP"),
    "WebP, RGBA": ("RGBA", "WEBP"),
}


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
    for done, _ in work:
        started = started or time.perf_counter()
        count += len(done)
    return count / (time.perf_counter() - started)


def compare(
    pool: ProcessPoolExecutor, folder: Path, *, times: int, rounds: int
) -> tuple[list[float], list[float]]:
    """Images per second, round by round: of the bare loop, and of inspection."""
    processes = len(os.sched_getaffinity(0))
    listing = open_source(str(folder), "folder").list_images().table
    columns = [listing.column(key).to_pylist() for key in ("path", "size", "version")]
    files: list[FileKey] = list(zip(*columns, strict=True)) * times
    paths = [str(folder / path) for path, _, _ in files]
    bare_rate(pool, paths[:100], processes)  # starts the processes
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(bare_rate(pool, paths, processes))
        ours.append(inspection_rate(folder, files, processes))
    return bare, ours


def draw_formats(folder: Path) -> None:
    """A folder of pictures for each of `FORMATS`."""
    pictures = [draw_scene(random.Random(seed), size=SIZE)[0] for seed in range(DRAWN)]
    ramp = Image.linear_gradient("L").resize(SIZE)
    for name, (mode, form) in FORMATS.items():
        (folder / name).mkdir()
        for number, picture in enumerate(pictures):
            image = picture.copy()
            if mode.endswith("A"):
                image.putalpha(ramp)
            image = image.quantize(256) if mode == "P" else image.convert(mode)
            image.save(folder / name / f"{number}.{form.lower()}", form)


def costs(folder: Path, rounds: int) -> tuple[float, float]:
    """Processor seconds for each image: of the bare loop, and of inspection."""
    source = open_source(str(folder), "folder")
    columns = source.list_images().table.select(["path", "size", "version"]).to_pydict()
    files: list[FileKey] = list(zip(*columns.values(), strict=True))
    paths = [str(folder / path) for path, _, _ in files]
    bare, ours = [], []
    for _ in range(rounds):
        bare.append(cost(lambda: bare_loop(paths))[1])
        ours.append(cost(lambda: [inspect_row(source, LIMITS, file) for file in files])[1])
    return min(bare) / len(files), min(ours) / len(files)


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--times", type=int, default=20, help="how often each file is listed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--note", default="", help="what to say of the machine")
    options = parser.parse_args()
    spawn = multiprocessing.get_context("spawn")
    workers = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as name, ProcessPoolExecutor(workers, spawn) as pool:
        sample, large = Path(name, "sample"), Path(name, "large")
        make_dataset(sample, images=options.images, seed=0)
        large.mkdir()
        draw_formats(large)
        found = compare(pool, sample, times=options.times, rounds=options.rounds)
        by_format = {form: costs(large / form, rounds=3 * options.rounds) for form in FORMATS}
    report(*found, by_format, workers, options)


def report(
    bare: list[float],
    ours: list[float],
    by_format: dict[str, tuple[float, float]],
    processes: int,
    options: argparse.Namespace,
) -> None:
    """Write what was measured."""
    rows = [
        ["bare Pillow loop", f"{max(bare):,.0f}", "1.00"],
        ["inspection", f"{max(ours):,.0f}", f"{max(ours) / max(bare):.2f}"],
    ]
    rounds = ", ".join(f"{one / other:.2f}" for one, other in zip(ours, bare, strict=True))
    body = (__doc__ or "").split("\n\n", 1)[1].strip()
    body += "\n\n" + table(["", "images/s", "ratio"], rows)
    body += f"\n\n{processes} processes, {options.images * options.times:,} files a round, "
    body += f"{options.rounds} rounds; the ratio round by round: {rounds}. {options.note}\n\n"
    rows = [
        [name, f"{bare_s * 1e3:.1f}", f"{ours_s * 1e3:.1f}", f"{bare_s / ours_s:.2f}"]
        for name, (bare_s, ours_s) in by_format.items()
    ]
    body += table(["1200 x 1600", "bare, CPU ms", "inspection, CPU ms", "ratio"], rows)
    write("inspection", "Inspection against a bare decode loop", body)


if __name__ == "__main__":
    main()
