"""Reading every latent on disk again: is it still what was written, and does the index fit?"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from nadir.data.latents.masks import MASKS_NAME
from nadir.data.latents.shards import UNREADABLE, shard_bucket, shard_fault, shard_keys
from nadir.data.latents.store import DAMAGED, INDEX_NAME, LatentStore
from nadir.data.tables import LATENT_INDEX, MASK_INDEX, read_table
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """Something wrong with one file.

    Attributes:
        path: The file.
        what: What is wrong.
    """

    path: Path
    what: str


@dataclass(frozen=True)
class Findings:
    """What `verify` saw.

    Attributes:
        shards: Files that were read; two names of one file count once.
        latents: Rows in them.
        size: Their bytes.
        faults: What is wrong, shards first.
    """

    shards: int
    latents: int
    size: int
    faults: tuple[Fault, ...]


def verify(store: LatentStore, output: Path) -> Findings:
    """Read every shard of the store and of the output, and compare the index with the shards.

    Checked are: that a shard can be read, its checksum, its shape against its bucket, that all
    values are finite; that the index is sorted without repetition, that each of its rows is where
    it says, under its key and in its bucket, and that no shard lies there unused.

    Args:
        store: `work/latents`.
        output: `data/latents`; may be missing, but not hold shards without an index.
    """
    paths = [*store.shards(), *(LatentStore(output).shards() if output.is_dir() else ())]
    progress = Progress("latents", len(paths), "shards")
    seen: dict[tuple[int, int], str] = {}
    keys: dict[Path, list[str]] = {}
    faults: list[Fault] = []
    size = 0
    for path in progress.over(paths):
        status = path.stat()
        inode = status.st_dev, status.st_ino
        if inode not in seen:
            seen[inode] = shard_fault(path)
            size += status.st_size
        if seen[inode]:
            faults.append(Fault(path, seen[inode]))
        elif path.parent == output:
            keys[path] = shard_keys(path)
    if output.is_dir():
        bad = {fault.path.name for fault in faults}
        faults += _index_faults(output, {path.name: found for path, found in keys.items()}, bad)
    return Findings(len(seen), sum(_rows(path) for path in _distinct(paths)), size, tuple(faults))


def set_aside(store: LatentStore, faults: Sequence[Fault]) -> list[Path]:
    """Move damaged files out of everybody's way: to `damaged` in the store.

    What they held is missing then, and the next run of `encode` makes it again.

    Args:
        store: Whose `alone` the caller holds.
        faults: From `verify`.

    Returns:
        Where the files lie now.
    """
    moved: list[Path] = []
    for fault in faults:
        if not fault.path.is_file():
            continue
        target = store.root / DAMAGED / f"{fault.path.name}.{fault.path.stat().st_ino}"
        target.parent.mkdir(exist_ok=True)
        if target.exists():  # its other name has been moved
            fault.path.unlink()
        else:
            shutil.move(fault.path, target)
            moved.append(target)
    return moved


def _index_faults(output: Path, keys: dict[str, list[str]], bad: set[str]) -> Iterator[Fault]:
    path = output / INDEX_NAME
    try:
        index = read_table(path, LATENT_INDEX).to_pandas()
    except NadirError as error:
        yield Fault(path, error.what)
        return
    # Of one image there is a row for each of its canvases.
    rows = pd.MultiIndex.from_frame(index[["sha256", "bucket_width", "bucket_height"]])
    if not (rows.is_monotonic_increasing and rows.is_unique):
        yield Fault(path, "its images are not sorted, or one is there twice")
    flips = index[index["flip_key"].notna()]
    masks, named = _mask_rows(output, index)
    if named:
        yield named
    parts = [
        masks,
        index[["key", "shard", "row", "bucket"]],
        flips[["flip_key", "flip_shard", "flip_row", "bucket"]].set_axis(
            ["key", "shard", "row", "bucket"], axis=1
        ),
    ]
    for part in parts:
        for shard, rows in part.groupby("shard"):
            if str(shard) not in bad:
                yield from _shard_faults(path, str(shard), rows, keys)
    used = {*index["shard"], *flips["flip_shard"], *masks["shard"]}
    for name in sorted(set(keys) - used):
        yield Fault(output / name, "no row of the index lies in it")


def _mask_rows(output: Path, index: pd.DataFrame) -> tuple[pd.DataFrame, Fault | None]:
    """key, shard, row and bucket of every mask, and what is wrong with their index."""
    path = output / MASKS_NAME
    nothing = pd.DataFrame(columns=["key", "shard", "row", "bucket"])
    if not path.is_file():
        return nothing, None
    try:
        masks = read_table(path, MASK_INDEX).to_pandas()
    except NadirError as error:
        return nothing, Fault(path, error.what)
    buckets = index.set_index("key")["bucket"].reindex(masks["key"])
    rows = masks[["mask_key", "shard", "row"]].rename(columns={"mask_key": "key"})
    fault = Fault(path, "masks of latents that the index does not have")
    return rows.assign(bucket=buckets.to_numpy()), fault if buckets.isna().any() else None


def _shard_faults(
    path: Path, shard: str, rows: pd.DataFrame, keys: dict[str, list[str]]
) -> Iterator[Fault]:
    """What is wrong with the rows of the index that lie in one shard."""
    if shard not in keys:
        yield Fault(path, f"it names {shard}, which is not there")
        return
    places = rows["row"].to_numpy(np.int64)
    inside = (places >= 0) & (places < len(keys[shard]))
    right = sum(
        keys[shard][place] == key
        for place, key in zip(places[inside].tolist(), rows["key"][inside], strict=True)
    )
    if right < len(rows):
        yield Fault(path, f"{len(rows) - right} rows of {shard} are others than it says")
    if (rows["bucket"] != shard_bucket(shard)).any():
        yield Fault(path, f"rows of {shard} are said to be of another bucket")


def _distinct(paths: Sequence[Path]) -> list[Path]:
    return list({path.stat().st_ino: path for path in paths}.values())


def _rows(path: Path) -> int:
    try:
        return len(shard_keys(path))
    except UNREADABLE:
        return 0
