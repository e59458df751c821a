"""Where measurements of the data plane go: sections of docs/performance.md.

Every measurement runs in a process of its own, so that its peak of memory is its own, and its
temporary files lie in a folder that is removed.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.results import ROOT, write_section

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = ROOT / "docs" / "performance.md"
POSTS = (60_000, 600_000, 6_000_000)
_HEAD = """\
# Performance of the data plane

What millions of images cost, measured by the modules of `bench/` (`make bench`), each on a dataset
of 0.06, 0.6 and 6 million synthetic posts to show how cost grows. The posts are drawn from a small
model (`bench/booru.py`) that was fitted to the public tag counts of a large booru; aspect ratios
follow `nadir.data.buckets.aspects`. Peak memory is of the measuring process, Python and its
libraries included. CPU is the processor time of all threads: what the work costs, however busy the
machine.
"""


def posts_from_arguments(description: str | None) -> tuple[int, ...]:
    """What `--posts` asks for: some numbers of posts, or all three."""
    return tuple(_arguments(description).posts)


def manifests_from_arguments(description: str | None) -> Iterator[tuple[int, Path]]:
    """Number of posts and their manifest, made anew or, with `--keep`, once for all."""
    # Not above: what measures no manifest needs no model.
    from bench.booru import write_manifest

    options = _arguments(description)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        for posts in options.posts:
            path = folder / f"posts_{posts}.parquet"
            if not path.is_file():
                part = path.with_suffix(".part")
                write_manifest(part, posts)
                part.rename(path)
            yield posts, path


def _arguments(description: str | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=description)
    help_posts = "measure these numbers of posts only"
    parser.add_argument("--posts", type=int, nargs="+", default=POSTS, help=help_posts)
    help_keep = "folder in which manifests stay for the next measurement"
    parser.add_argument("--keep", type=Path, help=help_keep)
    return parser.parse_args()


def alone(function: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """What `function(folder, *arguments)` returns in a fresh process, with `peak_gb` added.

    Args:
        function: Of a module, so that another process finds it.
        arguments: What it takes after a folder for temporary files.
    """
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(1, spawn) as pool:
        return pool.submit(_measured, function, Path(folder), arguments).result()


def _measured(
    function: Callable[..., dict[str, Any]], folder: Path, arguments: tuple[Any, ...]
) -> dict[str, Any]:
    found = function(folder, *arguments)
    return found | {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6}


def seconds(work: Callable[[], Any]) -> float:
    """Wall time of one call."""
    return cost(work)[0]


def cost(work: Callable[[], Any]) -> tuple[float, float]:
    """Wall time of one call, and processor time of all its threads; seconds.

    On an idle machine the second is the larger one; where others work, it is the one to go by.
    """
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def write(title: str, body: str) -> None:
    """Print a measurement and put it into its section of the page."""
    write_section(PAGE, _HEAD, title, body)
