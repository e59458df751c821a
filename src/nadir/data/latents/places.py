"""Where the rows of an index lie, as arrays: those of latents, and those of their masks.

Arrays instead of columns of objects, so that several processes can map one file of each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int32]


@dataclass(frozen=True)
class LatentPlaces:
    """Of N rows of a `LATENT_INDEX`, what reading them takes.

    Attributes:
        names: Shards, sorted.
        shard: [N] number of each row's shard among `names`.
        row: [N] its row there.
        flip_shard: [N] the same of the mirrored image's latent, -1 where there is none.
        flip_row: [N] its row there, -1 where there is none.
        flip_crop_left: [N] left edge of the mirrored image's crop in pixels, -1 likewise.
    """

    names: tuple[str, ...]
    shard: Integers
    row: Integers
    flip_shard: Integers
    flip_row: Integers
    flip_crop_left: NDArray[np.float32]

    @classmethod
    def of_table(cls, index: pa.Table) -> LatentPlaces:
        """The places that an index holds."""
        own, flip = index["shard"], index["flip_shard"]
        names = sorted({*own.unique().to_pylist(), *flip.drop_null().unique().to_pylist()})
        return cls(
            names=tuple(names),
            shard=_numbers(own, names),
            row=index["row"].to_numpy().astype(np.int32),
            flip_shard=_numbers(flip, names),
            flip_row=_filled(index["flip_row"]).astype(np.int32),
            flip_crop_left=_filled(index["flip_crop_left"]).astype(np.float32),
        )


@dataclass(frozen=True)
class MaskPlaces:
    """Of N latents, where their masks lie.

    Attributes:
        names: Shards, sorted.
        shard: [N] number of each mask's shard among `names`, -1 where a latent has no mask.
        row: [N] its row there.
    """

    names: tuple[str, ...]
    shard: Integers
    row: Integers

    @classmethod
    def of_table(cls, masks: pa.Table | None, keys: Sequence[str]) -> MaskPlaces:
        """The places that a `MASK_INDEX` holds.

        Args:
            masks: The index; None where there is none.
            keys: [N] keys of the latents.
        """
        shard, row = np.full(len(keys), -1, np.int32), np.full(len(keys), -1, np.int32)
        if masks is None:
            return cls((), shard, row)
        found = _filled(
            pc.index_in(pa.array(keys, pa.string()), value_set=masks["key"].combine_chunks())
        )
        known = np.flatnonzero(found >= 0)
        names = sorted(masks["shard"].unique().to_pylist())
        shard[known] = _numbers(masks["shard"], names)[found[known]]
        row[known] = masks["row"].to_numpy()[found[known]]
        return cls(tuple(names), shard, row)


def _numbers(shards: pa.ChunkedArray, names: list[str]) -> Integers:
    """Position of each shard among `names`, -1 where there is none."""
    return _filled(pc.index_in(shards, value_set=pa.array(names, shards.type))).astype(np.int32)


def _filled(numbers: pa.ChunkedArray | pa.Array) -> NDArray[Any]:
    """Numbers with -1 where there is none."""
    filled: NDArray[Any] = pc.fill_null(numbers, -1).to_numpy()
    return filled
