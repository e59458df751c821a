"""The names and classes of a manifest's tags, and how often each is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from nadir.compute.cores import on_all_cores
from nadir.data.tags.codes import encoded, training_tags

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA = pa.schema([("name", pa.string()), ("class", pa.string()), ("count", pa.int64())])
_SUMMED_AT = 1 << 20


def tag_names_used(manifest: Path) -> pa.Table:
    """Every pair of a name and a class of the training images, the most used first.

    A group of rows has few different names, so uses are counted by their places in its dictionary
    and only these counts are joined by text. Memory is that of the different names.

    Args:
        manifest: A `MANIFEST` file; read piece by piece.

    Returns:
        Columns name, class, count; of equal counts by name, then class.
    """
    parts, pending = [_SCHEMA.empty_table()], 0
    for part in on_all_cores(_counted, training_tags(manifest)):
        parts.append(part)
        pending += part.num_rows
        if pending > _SUMMED_AT:
            parts, pending = [_summed(parts)], 0
    order = [("count", "descending"), ("name", "ascending"), ("class", "ascending")]
    return _summed(parts).sort_by(order)


def _counted(tags: pa.ListArray) -> pa.Table:
    """The used pairs of some images."""
    uses = tags.flatten()
    names, classes = encoded(uses.field("name")), encoded(uses.field("class"))
    kinds = max(len(classes.dictionary), 1)
    keys = names.indices.to_numpy().astype(np.int64) * kinds + classes.indices.to_numpy()
    counts = np.bincount(keys)
    used = np.flatnonzero(counts)
    name, kind = np.divmod(used, kinds)
    columns = [
        names.dictionary.take(pa.array(name)),
        classes.dictionary.take(pa.array(kind)),
        pa.array(counts[used]),
    ]
    return pa.Table.from_arrays(columns, schema=_SCHEMA)


def _summed(parts: list[pa.Table]) -> pa.Table:
    groups = pa.concat_tables(parts).group_by(["name", "class"]).aggregate([("count", "sum")])
    return groups.select(["name", "class", "count_sum"]).rename_columns(_SCHEMA.names)
