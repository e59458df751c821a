"""Reading latents of random images, against a plain copy out of `numpy.memmap`.

Shards of latents of 1024x1024 canvases, [4, 128, 128]; batches of 64 images anywhere in them, from
the page cache. Copy: each row of a batch copied out of one `numpy.memmap` as it is. Ours:
`LatentReader.rows`, which finds each row's shard and place, on one thread. Opening
is `LatentReader(folder)` on an index of that many rows, of which most name the same rows.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch
from bench.booru import hashes
from bench.performance import alone, posts_from_arguments, seconds, write
from bench.results import table

from nadir.data.latents.store import LatentReader, LatentStore
from nadir.data.tables import LATENT_INDEX, write_table

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

_SHAPE = (4, 128, 128)
_ROWS, _SHARDS = 1000, 8
_BATCH, _BATCHES, _ROUNDS = 64, 60, 5


def make_latents(folder: Path, posts: int, dtype: str) -> None:
    """Shards, an index that names their rows first, and the same latents as one plain file."""
    rng, shards = np.random.default_rng(0), []
    store = LatentStore(folder)
    with (folder / "plain.bin").open("wb") as plain:
        for shard in range(_SHARDS):
            values = rng.standard_normal((_ROWS, *_SHAPE), dtype=np.float32).astype(dtype)
            keys = [f"{shard}-{row}" for row in range(_ROWS)]
            shards.append(store.write_shard("1024x1024", keys, torch.from_numpy(values)))
            values.tofile(plain)
    there = _ROWS * _SHARDS
    shard_of = np.minimum(np.arange(posts) // _ROWS, _SHARDS - 1)
    names = pa.array(shards).take(pa.array(shard_of))
    keys_of_all = pa.chunked_array(
        [hashes(min(100_000, posts - at), rng) for at in range(0, posts, 100_000)]
    )
    columns: dict[str, Any] = {"key": keys_of_all, "sha256": keys_of_all, "shard": names}
    columns["row"] = np.where(np.arange(posts) < there, np.arange(posts) % _ROWS, 0)
    columns["bucket"] = pa.repeat("1024x1024", posts)
    for field in LATENT_INDEX:
        empty = pa.nulls(posts, field.type) if field.nullable else np.zeros(posts, np.int32)
        columns.setdefault(field.name, empty)
    write_table(pa.table(columns), folder / "index.parquet", LATENT_INDEX)


def measure(folder: Path, posts: int, dtype: str) -> dict[str, Any]:
    """Bytes per second of each way, the best of several rounds taken in turn."""
    torch.set_num_threads(1)
    make_latents(folder, posts, dtype)
    readers: list[LatentReader] = []
    opening = seconds(lambda: readers.append(LatentReader(folder)))
    there = min(_ROWS * _SHARDS, posts)
    plain = np.memmap(folder / "plain.bin", dtype, "r").reshape(-1, *_SHAPE)
    order = np.random.default_rng(1).integers(0, there, (_BATCHES, _BATCH))
    ways: dict[str, Callable[[NDArray[np.int64]], Any]] = {
        "copy": lambda rows: _copied(plain, rows, dtype),
        "ours": readers[0].rows,
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(_ROUNDS):
        for name, way in ways.items():
            times[name].append(seconds(lambda way=way: [way(rows) for rows in order]))
    size = order.size * int(np.prod(_SHAPE)) * np.dtype(dtype).itemsize
    return {"opening": opening} | {name: size / min(took) for name, took in times.items()}


def _copied(plain: NDArray[Any], rows: NDArray[np.int64], dtype: Any) -> NDArray[Any]:
    latents = np.empty((len(rows), *_SHAPE), dtype)
    for place, row in enumerate(rows.tolist()):
        latents[place] = plain[row]
    return latents


def main() -> None:
    """Measure and write the section."""
    rows = []
    asked = posts_from_arguments(__doc__)
    for posts, dtype in itertools.product(asked, ("float16", "float32")):
        found = alone(measure, posts, dtype)
        rows.append(
            [
                f"{posts:,}, {dtype}",
                f"{found['opening']:.1f}",
                *(f"{found[name] / 1e9:.2f}" for name in ("copy", "ours")),
                f"{found['ours'] / found['copy']:.2f}",
                f"{found['peak_gb']:.1f}",
            ]
        )
    header = ["rows in the index", "open, s", "copy, GB/s", "ours, GB/s", "ours : copy", "GB"]
    write("Reading latents", (__doc__ or "").split("\n\n", 1)[1] + "\n" + table(header, rows))


if __name__ == "__main__":
    main()
