"""Inspection against a bare Pillow decode loop with as many processes.

Bare: `Image.open(path).load()`, nothing else, each process over its share of the files. Inspection:
what `validate` does to each file - read, hash (sha256), decode by rule, luminance, perceptual hash,
a watch over crashes and hangs - in its worker processes, results collected in the parent. The files
are the project's own sample pictures, from the page cache; starting processes is not counted. Both
run in turn, and the fastest of several rounds counts. By format: pictures drawn at 1200 x 1600 and
saved in each; where there is alpha, it falls off towards one side. Processor time an image, in
processes of one work each that take turns, inspection's with the settings of memory that its
workers have; of each file the least of all rounds. With `--beside FOLDER`, the checkout of another
build, its inspection takes turns too.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import multiprocessing
import os
import random
import subprocess
import sys
import tempfile
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from bench.results import ROOT, table, write
from PIL import Image

from nadir.compute.process_pool import in_chunks, map_in_processes
from nadir.compute.worker_process import kept_memory
from nadir.data.inspection.inspection import Limits
from nadir.data.inspection.looking import inspect_row, lost_row
from nadir.data.sources.detect import open_source
from nadir.synthetic import draw_scene, make_dataset

if TYPE_CHECKING:
    from nadir.data.inspection.remembered import FileKey

LIMITS = Limits(120_000_000, 1 << 28, (255, 255, 255))
CHUNK = 64
DRAWN = 6
PASSES = 8
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


# Of any build: processor seconds of each file of each folder, the least of some passes.
_COSTS = """
import json, sys, time
from pathlib import Path
from PIL import Image
work, folder, passes = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
def bare(path):
    with Image.open(path) as image:
        image.load()
def timed(call, argument):
    begin = time.process_time()
    call(argument)
    return time.process_time() - begin
if work == "inspection":
    from nadir.data.inspection.inspection import Limits
    from nadir.data.inspection.looking import inspect_row
    from nadir.data.sources.detect import open_source
    limits = Limits(120_000_000, 1 << 28, (255, 255, 255))
found = {}
for form in sorted(folder.iterdir()):
    paths = sorted(form.iterdir())
    look, items = bare, paths
    if work == "inspection":
        source = open_source(str(form), "folder")
        look = lambda file, source=source: inspect_row(source, limits, file)
        items = [(path.name, *source.version(path.name)) for path in paths]
    turns = [[timed(look, item) for item in items] for _ in range(passes)]
    found[form.name] = [min(times) for times in zip(*turns)]
print(json.dumps(found))
"""


def costs(folder: Path, builds: dict[str, Path], rounds: int) -> dict[str, dict[str, float]]:
    """Processor seconds an image by format: of the bare loop, and of inspection by each build."""
    ways = {"bare": ROOT, **builds}
    best: dict[str, dict[str, list[float]]] = {name: {} for name in ways}
    for _ in range(rounds):
        for name, build in ways.items():
            for form, times in _costs_once(folder, name == "bare", build).items():
                known = best[name].get(form, times)
                best[name][form] = [min(pair) for pair in zip(known, times, strict=True)]
    return {
        name: {form: sum(times) / len(times) for form, times in forms.items()}
        for name, forms in best.items()
    }


def _costs_once(folder: Path, bare: bool, build: Path) -> dict[str, list[float]]:
    """As `_COSTS` prints them; a build before this one has no settings of memory."""
    modules = (build / "src/nadir/compute").glob("*.py")
    keeps = any("kept_memory" in module.read_text("utf-8") for module in modules)
    settings = kept_memory() if keeps and not bare else {}
    line = [sys.executable, "-c", _COSTS, "bare" if bare else "inspection", folder, str(PASSES)]
    environment = {**os.environ, **settings, "PYTHONPATH": str(build / "src")}
    answer = subprocess.run(line, env=environment, check=True, stdout=subprocess.PIPE)
    found: dict[str, list[float]] = json.loads(answer.stdout)
    return found


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--times", type=int, default=20, help="how often each file is listed")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--beside", type=Path, help="checkout of another build")
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
        before = {"the build before": options.beside} if options.beside else {}
        by_format = costs(large, {**before, "inspection": ROOT}, options.rounds)
    report(*found, by_format, workers, options)


def report(
    bare: list[float],
    ours: list[float],
    by_format: dict[str, dict[str, float]],
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
    body += _by_format(by_format)
    write("inspection", "Inspection against a bare decode loop", body)


def _by_format(found: dict[str, dict[str, float]]) -> str:
    """The table of formats: milliseconds, and the bare loop's beside each."""
    header, rows = ["1200 x 1600", "bare, CPU ms"], []
    bare = found.pop("bare")
    for name in found:
        header += [f"{name}, CPU ms", "ratio"]
    for form in FORMATS:
        row = [form, f"{bare[form] * 1e3:.1f}"]
        for forms in found.values():
            row += [f"{forms[form] * 1e3:.1f}", f"{bare[form] / forms[form]:.2f}"]
        rows.append(row)
    return table(header, rows)


if __name__ == "__main__":
    main()
