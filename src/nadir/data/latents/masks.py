"""Masks of latents: shards of the same store with an index of their own, and their reader.

A mask is [1, h, w], fp16 from 0 to 1, the share of a latent pixel's area that counts. Where no mask
was asked for there is no index of masks, and nothing else differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from nadir.data.latents.places import MaskPlaces
from nadir.data.latents.shards import UNREADABLE, map_shard, unreadable
from nadir.data.latents.store import INDEX_NAME
from nadir.data.tables import LATENT_INDEX, MASK_INDEX, read_table

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch
    from numpy.typing import NDArray

MASKS_NAME = "masks.parquet"
"""Index of the masks, beside that of the latents."""


class MaskReader:
    """Random access to the masks of latents.

    Args:
        folder: Holds the shards.
        places: Where the masks lie.
    """

    def __init__(self, folder: Path, places: MaskPlaces) -> None:
        self._folder = folder
        self._places = places
        self._maps: dict[int, NDArray[Any]] = {}

    def __len__(self) -> int:
        """How many latents have a mask."""
        return int((self._places.shard >= 0).sum())

    def rows(
        self, positions: NDArray[np.int64], flipped: NDArray[np.bool_], size: tuple[int, int]
    ) -> torch.Tensor:
        """Masks [B, 1, h, w], float32 from 0 to 1; what has no mask counts in full.

        Args:
            positions: [B] rows of the latents' index that share one bucket.
            flipped: [B] whether the mirrored image's mask is wanted.
            size: h and w.

        Raises:
            NadirError: A shard is missing or damaged.
        """
        import torch  # `encode` only reads where masks lie

        masks_B1HW = np.ones((len(positions), 1, *size), np.float32)
        for place, (position, mirrored) in enumerate(
            zip(positions.tolist(), flipped.tolist(), strict=True)
        ):
            shard = int(self._places.shard[position])
            if shard >= 0:
                mask_1HW = self._map(shard)[self._places.row[position]]
                # Averages over equal blocks of a mirrored picture are the mirrored averages.
                masks_B1HW[place] = mask_1HW[..., ::-1] if mirrored else mask_1HW
        return torch.from_numpy(masks_B1HW)

    def _map(self, shard: int) -> NDArray[Any]:
        if shard not in self._maps:
            path = self._folder / self._places.names[shard]
            try:
                self._maps[shard] = map_shard(path)
            except UNREADABLE as error:
                raise unreadable(path, error) from error
        return self._maps[shard]


def mask_places(folder: Path, keys: Sequence[str]) -> MaskPlaces:
    """Where the masks of some latents lie; none has one where no mask was asked for.

    Args:
        folder: Holds `masks.parquet` where there are masks.
        keys: [N] keys of the latents, in the order of their index.

    Raises:
        NadirError: The index of the masks is damaged.
    """
    index = None
    if (folder / MASKS_NAME).is_file():
        index = read_table(folder / MASKS_NAME, MASK_INDEX)
    return MaskPlaces.of_table(index, keys)


def live_keys(folder: Path) -> pa.ChunkedArray:
    """Keys of all that an index and its masks name.

    Raises:
        NadirError: An index is missing or damaged.
    """
    index = read_table(folder / INDEX_NAME, LATENT_INDEX, ["key", "flip_key"])
    columns = [index["key"], index["flip_key"].drop_null()]
    if (folder / MASKS_NAME).is_file():
        columns.append(read_table(folder / MASKS_NAME, MASK_INDEX, ["mask_key"])["mask_key"])
    return pa.chunked_array([chunk for column in columns for chunk in column.chunks], pa.string())
