"""Fewer, larger shards: small ones are merged, and rows that nobody uses are dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.data.latents.shards import is_intact, map_shard, shard_bucket, shard_rows, write_shard
from nadir.ground.events import say
from nadir.ground.files import sync

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pyarrow as pa
    from numpy.typing import NDArray

    from nadir.data.latents.store import LatentStore, Places


@dataclass(frozen=True)
class Compaction:
    """What `compact` did; sizes in bytes.

    Attributes:
        shards_before: Shard files before.
        shards_after: And after.
        bytes_before: Their size before.
        bytes_after: And after.
        dead_rows: Rows that were dropped.
        held_bytes: Of what was removed, what other hard links (data/latents, DVC's cache) keep.
    """

    shards_before: int
    shards_after: int
    bytes_before: int
    bytes_after: int
    dead_rows: int
    held_bytes: int


@dataclass(frozen=True)
class _Part:
    """A shard that is to go, and which of its rows stay."""

    path: Path
    stay_N: NDArray[np.bool_]
    keys: list[str]


def compact(store: LatentStore, live: pa.ChunkedArray | None, shard_bytes: int) -> Compaction:
    """Rewrite shards that hold dead rows or are less than half full.

    New shards are on disk before old ones are removed, so a kill at any moment loses nothing: what
    is then there twice is dropped the next time. Hard links elsewhere keep the old files. A shard
    whose checksum is wrong stays as it is, for `nadir latents verify`.

    Args:
        store: Nobody else may use it meanwhile.
        live: Keys that stay; None keeps all, each once.
        shard_bytes: Largest size of a shard.

    Raises:
        NadirError: The store is in use.
    """
    with store.alone():
        store.sweep()
        before = {path: path.stat() for path in store.shards()}
        places = store.places()
        groups = _groups(store, places, _stays(places, live), shard_bytes)
        dead = held = 0
        for parts in groups.values():
            written = {
                write_shard(store.root, shard_bucket(parts[0].path.name), keys, latents)
                for keys, latents in _merged(parts, shard_bytes)
            }
            # First the new names are durable: a power cut must not keep only the removals.
            sync(store.root)
            for part in parts:
                dead += int((~part.stay_N).sum())
                # A shard's name is the hash of its content: the same rows again are the same file.
                if part.path.name not in written:
                    status = before[part.path]
                    # Removing one of several names of a file frees nothing.
                    held += status.st_size if status.st_nlink > 1 else 0
                    part.path.unlink()
        after = [path.stat().st_size for path in store.shards()]
    sizes = [status.st_size for status in before.values()]
    return Compaction(len(sizes), len(after), sum(sizes), sum(after), dead, held)


def _stays(places: Places, live: pa.ChunkedArray | None) -> NDArray[np.bool_]:
    """Which rows of the store stay: those that are live, each key at its first place."""
    first = np.zeros(len(places.keys), bool)
    found = places.find(places.keys if live is None else live)
    # `find` gives the first place of a key, so a later copy of the same latent does not stay.
    first[found[found >= 0]] = True
    return first


def _groups(
    store: LatentStore, places: Places, stays: NDArray[np.bool_], shard_bytes: int
) -> dict[tuple[Any, ...], list[_Part]]:
    """The shards that are to be rewritten, by bucket, type and shape of their latents."""
    groups: dict[tuple[Any, ...], list[_Part]] = {}
    starts = np.searchsorted(places.shard, np.arange(len(places.names) + 1))
    for number, name in enumerate(places.names):
        rows = slice(int(starts[number]), int(starts[number + 1]))
        stay_N, path = stays[rows], store.root / name
        latents = map_shard(path)
        capacity = shard_rows(shard_bytes, latents[0].nbytes)
        # Two shards that are at most half full make one; fuller ones would be copied for nothing.
        if stay_N.all() and (2 * len(stay_N) > capacity):
            continue
        if not is_intact(path):
            say(f"latents: {name} is damaged and stays as it is; see `nadir latents verify`")
            continue
        kind = shard_bucket(name), latents.dtype.str, latents.shape[1:]
        keys = places.keys[rows.start : rows.stop].to_pylist()
        groups.setdefault(kind, []).append(_Part(path, stay_N, keys))
    # One small shard alone, all of it in use, gains nothing from a copy.
    return {k: v for k, v in groups.items() if len(v) > 1 or not v[0].stay_N.all()}


def _merged(parts: list[_Part], shard_bytes: int) -> Iterator[tuple[list[str], NDArray[Any]]]:
    """Keys and latents of each new shard; holds one shard in memory."""
    keys: list[str] = []
    pieces: list[NDArray[Any]] = []
    for part in parts:
        latents = map_shard(part.path)
        capacity = shard_rows(shard_bytes, latents[0].nbytes)
        for row in np.flatnonzero(part.stay_N).tolist():
            keys.append(part.keys[row])
            pieces.append(latents[row])
            if len(keys) == capacity:
                yield keys, np.stack(pieces)
                keys, pieces = [], []
    if keys:
        yield keys, np.stack(pieces)
