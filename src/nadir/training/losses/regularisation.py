"""Regularisation images: those of some tags or folders count with a loss weight of their own."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from numpy.typing import NDArray

    from nadir.config.objective import RegularisationParams
    from nadir.data.tags.codes import TagUses

    Floats = NDArray[np.float64]


def regularisation_weights(
    params: RegularisationParams, uses: TagUses, tags: pa.Table, paths: Sequence[str]
) -> Floats:
    """Loss weight of each of some images, [N]: the lowest that one of its tags or folders has.

    It multiplies the tag weight and is not normalised: images at 0.3 push a third as hard.

    Args:
        params: `train.regularisation`.
        uses: The images' tags, rows of `tags`.
        tags: A `TAGS` table.
        paths: The images' paths in the source; read when folders are named.

    Raises:
        NadirError: A tag or folder of no image.
    """
    found = np.full(len(uses), np.inf)
    np.minimum.at(found, uses.images(), _by_tag(params.tags, tags)[uses.rows])
    for pattern, weight in params.folders.items():
        inside = _is_below(paths, pattern)
        if not inside.any():
            raise _matches_nothing("folder", pattern, "folders")
        found[inside] = np.minimum(found[inside], weight)
    return np.where(np.isinf(found), 1.0, found)


def _by_tag(weights: Mapping[str, float], tags: pa.Table) -> Floats:
    """The weight of every tag, infinite where it has none."""
    names = tags["tag"].to_pylist()
    for name in weights:
        if name not in names:
            raise _matches_nothing("tag", name, "tags")
    return np.array([weights.get(name, np.inf) for name in names], np.float64)


def _is_below(paths: Sequence[str], pattern: str) -> NDArray[np.bool_]:
    """Which paths lie below a folder that the pattern matches, at any depth."""
    parents = [PurePosixPath(path).parent for path in paths]
    wanted = pattern.strip("/")
    matches = {
        parent: any(fnmatchcase(str(folder), wanted) for folder in (parent, *parent.parents))
        for parent in set(parents)
    }
    return np.array([matches[parent] for parent in parents], bool)


def _matches_nothing(kind: str, name: str, key: str) -> NadirError:
    forms = {
        "tag": "name tags of data/tags.parquet, in its form (red_hair)",
        "folder": "name folders as in data/manifest.parquet's paths, which begin at the source",
    }
    return NadirError(
        f"no training image has the {kind} `{name}`",
        where=f"params.yaml train.regularisation.{key}",
        fix=forms[kind],
    )
