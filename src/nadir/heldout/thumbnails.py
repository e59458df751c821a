"""Latents shrunk to small grids: what thousands of real images look like, without decoding one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch.nn.functional import adaptive_avg_pool2d

from nadir.data.latents.store import LatentReader
from nadir.data.tables import TAGS, read_table
from nadir.heldout.images import chosen_rows, places_of, tags_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Tag = tuple[str, str]
    """Name and class."""

SIDE = 16
"""Cells along each side, whatever the shape of the image."""


@dataclass(frozen=True)
class LatentThumbnails:
    """Shrunk latents of some images of one split.

    Attributes:
        ids: sha256 of each image [N].
        tags: Tags of each that training knows [N].
        cells_NCSS: Mean latent of each cell of a `SIDE` x `SIDE` grid, float32, unnormalised.
    """

    ids: Sequence[str]
    tags: Sequence[Sequence[Tag]]
    cells_NCSS: NDArray[np.float32]


def load_thumbnails(
    *, manifest: Path, tags: Path, latents: Path, split: Literal["holdout", "train"], limit: int
) -> LatentThumbnails:
    """The first `limit` images of a split by hash, which is a fixed random choice.

    Args:
        manifest: `data/manifest.parquet`.
        tags: `data/tags.parquet`.
        latents: Folder `data/latents`; only the rows of these images are read.
        split: Which images.
        limit: Images at most.

    Returns:
        Possibly of no image.
    """
    rows = chosen_rows(latents, manifest, split=split, limit=limit)
    reader = LatentReader(latents, places_of(rows))
    pairs = tags_of(list(rows["sha256"]), manifest, read_table(tags, TAGS))
    cells = [
        adaptive_avg_pool2d(reader.rows([place])[0].float(), SIDE).numpy()
        for place in range(len(rows))
    ]
    return LatentThumbnails(
        ids=list(rows["sha256"]),
        tags=[pairs[sha256] for sha256 in rows["sha256"]],
        cells_NCSS=np.stack(cells) if cells else np.empty((0, 4, SIDE, SIDE), np.float32),
    )


def tag_rarity(tags: Path) -> Mapping[Tag, str]:
    """`head`, `mid` or `tail` of each tag, as `data/tags.parquet` has it."""
    table = read_table(tags, TAGS, ["tag", "class", "rarity"])
    names = zip(table["tag"].to_pylist(), table["class"].to_pylist(), strict=True)
    return dict(zip(names, table["rarity"].to_pylist(), strict=True))
