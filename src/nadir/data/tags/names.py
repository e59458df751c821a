"""The names and classes of a manifest's tags, and how often each is used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.compute.cores import on_all_cores
from nadir.data.coded_tags import TagBook, used_pairs
from nadir.data.tags.codes import UsesFile, training_tags

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.coded_tags import UsedPairs
    from nadir.data.tags.codes import TagUses


def names_used(manifest: Path, file: Path) -> tuple[pa.Table, TagUses]:
    """Every pair of a name and a class of the training images, and which of them each has.

    A group of rows has few different names, so uses are numbered by their places in its dictionary
    and only the names are joined by text.

    Args:
        manifest: A `MANIFEST` file; read once, piece by piece.
        file: Where the uses go, four bytes each, to be mapped into memory.

    Returns:
        Columns name, class, count, in no order, and the images' uses as rows of it.
    """
    book, counts = TagBook(), np.zeros(0, np.int64)
    with UsesFile(file) as uses:
        for lengths, pairs in on_all_cores(_pairs, training_tags(manifest)):
            numbers = book.numbers(pairs.names, pairs.classes)
            uses.add(lengths, numbers[pairs.places])
            counts = np.pad(counts, (0, max(int(numbers.max(initial=-1)) + 1 - len(counts), 0)))
            counts[numbers] += pairs.counts
    names, classes = book.pairs()
    return pa.table({"name": names, "class": classes, "count": counts}), uses.read()


def most_used_first(names: pa.Table) -> pa.Table:
    """The table of `names_used` by count; of equal counts by name, then class."""
    order = [("count", "descending"), ("name", "ascending"), ("class", "ascending")]
    return names.sort_by(order)


def _pairs(tags: pa.ListArray) -> tuple[np.ndarray, UsedPairs]:
    return pc.list_value_length(tags).to_numpy(), used_pairs(tags)
