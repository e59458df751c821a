"""Latents on disk: a store of immutable shards found by content, and a memory-mapped reader."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.latents.places import LatentPlaces
from nadir.data.latents.shards import (
    SUFFIX,
    UNREADABLE,
    is_intact,
    map_shard,
    shard_keys,
    unreadable,
    write_shard,
)
from nadir.data.tables import LATENT_INDEX, read_table
from nadir.ground.errors import NadirError
from nadir.ground.events import say
from nadir.ground.files import link_or_copy
from nadir.ground.locks import LockedError, exclusive_lock, shared_lock

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import pandas as pd
    import torch
    from numpy.typing import NDArray

INDEX_NAME = "index.parquet"
DAMAGED = "damaged"
"""Folder of the store that damaged shards are moved to."""

_LOCK = ".lock"


def latent_key(sha256: str, encoder_hash: str, geometry: str) -> str:
    """Name of a latent: equal exactly when image, encoder and geometry are.

    Args:
        sha256: Hash of the image file's bytes.
        encoder_hash: Hash of the VAE's encoder, and of everything else that shapes its output.
        geometry: Resize and crop in any fixed form.
    """
    return hashlib.sha256(f"{sha256}\n{encoder_hash}\n{geometry}".encode()).hexdigest()


@dataclass(frozen=True)
class Places:
    """Where the rows of a store lie, in Arrow memory: millions of keys in hundreds of megabytes.

    Attributes:
        keys: [N] key of each row.
        names: Shards, sorted.
        shard: [N] number of each row's shard among `names`.
        row: [N] its row there.
    """

    keys: pa.Array
    names: tuple[str, ...]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]

    def find(self, wanted: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
        """Place of each wanted key, -1 where it is unknown; the first place of a key that has two.

        Args:
            wanted: [M] keys.
        """
        found = pc.index_in(wanted.cast(pa.large_string()), value_set=self.keys)
        places: NDArray[np.int64] = pc.fill_null(found, -1).to_numpy().astype(np.int64)
        return places

    def shards_of(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """Names of the shards of some places."""
        return np.asarray(self.names, dtype=object)[self.shard[places]]


class LatentStore:
    """A folder of shards; a row is found by its key.

    Args:
        root: The folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)

    def shards(self) -> list[Path]:
        """The shard files, sorted by name."""
        return sorted(self.root.glob(f"*{SUFFIX}"))

    def places(self) -> Places:
        """Where every key lies; damaged shards are left out, with a note in the log."""
        names: list[str] = []
        keys: list[pa.Array] = []
        for path in self.shards():
            try:
                keys.append(pa.array(shard_keys(path), pa.large_string()))
            except UNREADABLE as error:
                say(f"latents: ignoring damaged shard {path.name} ({error})")
                continue
            names.append(path.name)
        counts = [len(part) for part in keys]
        rows = [np.arange(count, dtype=np.int32) for count in counts]
        return Places(
            keys=pa.chunked_array(keys, pa.large_string()).combine_chunks(),
            names=tuple(names),
            shard=np.repeat(np.arange(len(names), dtype=np.int32), counts),
            row=np.concatenate([np.empty(0, np.int32), *rows]),
        )

    def write_shard(self, bucket: str, keys: Sequence[str], latents_NCHW: torch.Tensor) -> str:
        """Write one shard, as `nadir.data.latents.shards.write_shard` does; its file name."""
        latents = np.ascontiguousarray(latents_NCHW.detach().cpu().numpy())
        return write_shard(self.root, bucket, keys, latents)

    def adopt(self, folder: Path, wanted: pa.Array | pa.ChunkedArray) -> None:
        """Take over shards of another folder, such as a restored `data/latents`.

        Only those that hold a wanted key which this store lacks, and only intact ones.

        Args:
            folder: May be missing.
            wanted: Keys.
        """
        if not folder.is_dir():
            return
        there = LatentStore(folder).places()
        lacking = pc.filter(wanted, pa.array(self.places().find(wanted) < 0))
        found = there.find(lacking)
        for name in sorted(set(there.shards_of(found[found >= 0]))):
            if is_intact(folder / name):
                (self.root / name).unlink(missing_ok=True)  # there, but unreadable
                link_or_copy(folder / name, self.root / name)
            else:
                say(f"latents: ignoring damaged shard {name}")

    def link_into(self, folder: Path, shards: Iterable[str]) -> None:
        """Make shards appear in another folder, by hard link where the file system can."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(set(shards)):
            link_or_copy(self.root / name, folder / name)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Keep `alone` out: no shard disappears inside the block. Any number of processes may."""
        with shared_lock(self.root / _LOCK):
            yield

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Keep everybody else out, so that shards may disappear inside the block.

        Raises:
            NadirError: The store is in use.
        """
        try:
            with exclusive_lock(self.root / _LOCK):
                yield
        except LockedError:
            raise NadirError(
                "another process is encoding into these latents or tidying them",
                where=str(self.root),
                fix="wait for it, then run the command again",
            ) from None

    def sweep(self) -> int:
        """Remove what killed writers left half-written; returns how many files. Wants `alone`."""
        left = list(self.root.glob(f".*{SUFFIX}.*.tmp"))
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)


class LatentReader:
    """Random access to the latents of an index.

    Args:
        folder: Holds `index.parquet` and the shards it names.
        places: What the index says of where its rows lie; None reads it.

    Raises:
        NadirError: The index is missing or damaged.
    """

    def __init__(self, folder: Path, places: LatentPlaces | None = None) -> None:
        self.folder = folder
        self.places = places or LatentPlaces.of_table(self.table)
        self._maps: dict[int, NDArray[Any]] = {}

    @cached_property
    def table(self) -> pa.Table:
        """The `LATENT_INDEX` table, in its order; read when it is first asked for."""
        return read_table(self.folder / INDEX_NAME, LATENT_INDEX)

    @cached_property
    def index(self) -> pd.DataFrame:
        """The table as a pandas frame, made when it is first asked for."""
        frame: pd.DataFrame = self.table.to_pandas()
        return frame

    def __getstate__(self) -> dict[str, Any]:
        # A pickled memory map would carry the data; worker processes open their own.
        return self.__dict__ | {"_maps": {}}

    def __len__(self) -> int:
        return len(self.places.row)

    def image_numbers(self) -> NDArray[np.int64]:
        """[N] number of each row's image, from 0; an image has a row for each of its canvases."""
        hashes = self.table["sha256"]
        starts = np.ones(len(hashes), np.int64)
        starts[:1] = 0
        starts[1:] = pc.not_equal(hashes[1:], hashes[:-1]).to_numpy()
        return np.cumsum(starts)

    def has_flip(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether rows of the index have a latent of their mirrored image, too."""
        found: NDArray[np.bool_] = self.places.flip_shard[positions] >= 0
        return found

    def flip_crop_left(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Left edge of the crop within the mirrored image, in pixels; -1 where there is none."""
        left: NDArray[np.float32] = self.places.flip_crop_left[positions]
        return left

    def rows(
        self,
        positions: Sequence[int] | NDArray[np.int64],
        flipped: NDArray[np.bool_] | None = None,
    ) -> torch.Tensor:
        """`arrays` as a tensor on the CPU."""
        from torch import from_numpy  # who wants no tensor loads no PyTorch

        return from_numpy(self.arrays(positions, flipped))

    def arrays(
        self,
        positions: Sequence[int] | NDArray[np.int64],
        flipped: NDArray[np.bool_] | None = None,
    ) -> NDArray[Any]:
        """Latents [B, C, h, w] as they are stored, of B rows of the index that share one bucket.

        fp16 stays fp16, so that half as many bytes go to the device, where they are widened.

        Args:
            positions: [B] rows of the index.
            flipped: [B] whether the mirrored image's latent is wanted; none by default.

        Raises:
            NadirError: A shard is missing or damaged.
        """
        wanted = np.asarray(positions, dtype=np.int64)
        places = self.places
        shards, rows = places.shard[wanted], places.row[wanted]
        if flipped is not None:
            shards = np.where(flipped, places.flip_shard[wanted], shards)
            rows = np.where(flipped, places.flip_row[wanted], rows)
        maps = [self._map(shard) for shard in shards.tolist()]
        shapes = {mapped.shape[1:] for mapped in maps}
        if len(shapes) != 1:
            msg = f"rows of one bucket are wanted, got latents of shapes {sorted(shapes)}"
            raise ValueError(msg)
        # A store may hold shards of both types; the wider one loses nothing.
        dtype = max((mapped.dtype for mapped in maps), key=lambda one: one.itemsize)
        latents = np.empty((len(maps), *shapes.pop()), dtype)
        # Row by row, so that bytes go from the map to their place in one copy.
        for place, (mapped, row) in enumerate(zip(maps, rows.tolist(), strict=True)):
            latents[place] = mapped[row]
        return latents

    def _map(self, shard: int) -> NDArray[Any]:
        if shard not in self._maps:
            if shard < 0:
                msg = "a latent of a mirrored image is wanted where there is none"
                raise ValueError(msg)
            path = self.folder / self.places.names[shard]
            try:
                self._maps[shard] = map_shard(path)
            except UNREADABLE as error:
                raise unreadable(path, error) from error
        return self._maps[shard]
