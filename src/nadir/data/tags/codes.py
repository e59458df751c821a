"""The tags of many images as numbers: rows of a `TAGS` table, four bytes a use.

Six million images with thirty-five tags each are 0.8 GB this way, and 7 GB as text.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nadir.compute.cores import on_all_cores
from nadir.data.coded_tags import TAG_LEAVES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]
    Rows = NDArray[np.int32]

IMAGES_AT_ONCE = 100_000
_SORTED_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class TagUses:
    """Which tags N images carry, in their own order.

    Attributes:
        starts: [N + 1] where each image's tags start in `rows`.
        rows: Rows of the `TAGS` table, int32.
    """

    starts: Integers
    rows: NDArray[np.int32]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.starts) - 1

    def of(self, image: int) -> NDArray[np.int32]:
        """The tags of one image."""
        return self.rows[self.starts[image] : self.starts[image + 1]]

    def images(self) -> Integers:
        """The image of each use."""
        return np.repeat(np.arange(len(self)), np.diff(self.starts))

    def pieces(self, size: int = IMAGES_AT_ONCE) -> Iterator[TagUses]:
        """The same images in pieces."""
        for start in range(0, len(self), size):
            starts = self.starts[start : start + size + 1]
            yield TagUses(starts - starts[0], self.rows[starts[0] : starts[-1]])


class TagCoder:
    """Turns `tags` columns into `TagUses`.

    Tags that the table does not hold are left out; one that an image has twice, by itself and by
    implication, counts once.

    Args:
        tags: `TAGS` columns tag, class, from_names.
    """

    def __init__(self, tags: pa.Table) -> None:
        names, classes = (encoded(tags[column]) for column in ("tag", "class"))
        self._names, self._classes = names.dictionary, classes.dictionary
        self._size = tags.num_rows
        # The last row and column are of what is not known.
        self._rows = np.full((len(self._names) + 1, len(self._classes) + 1), -1, np.int32)
        self._rows[names.indices.to_numpy(), classes.indices.to_numpy()] = np.arange(self._size)
        self._brought: dict[str, list[int]] = defaultdict(list)
        for row, found in enumerate(tags["from_names"].to_pylist()):
            for name in found:
                self._brought[name].append(row)

    def encode(self, tags: pa.ListArray) -> TagUses:
        """Code some images. May be called by several threads at once.

        Args:
            tags: [N] of type `TAG_LIST`; names and classes may be dictionary arrays.
        """
        uses, size = tags.flatten(), len(tags)
        images = np.repeat(np.arange(size), pc.list_value_length(tags).to_numpy())
        names, classes = encoded(uses.field("name")), encoded(uses.field("class"))
        name = names.indices.to_numpy()
        known_name = _places(names.dictionary, self._names)
        known_class = _places(classes.dictionary, self._classes)
        # A piece has few different pairs: their rows are looked up once, then each use's by one
        # number.
        rows_of_pairs = self._rows[np.ix_(known_name, known_class)].ravel()
        keys = name.astype(np.int64) * len(known_class)
        keys += classes.indices.to_numpy()
        rows = rows_of_pairs[keys]
        images, rows = self._with_brought(images, rows, names.dictionary, name, size)
        known = rows >= 0
        if not known.all():
            images, rows = images[known], rows[known]
        images, rows = _without_doubles(images, rows, self._size)
        starts = np.zeros(size + 1, np.int64)
        np.cumsum(np.bincount(images, minlength=size), out=starts[1:])
        return TagUses(starts, rows)

    def _with_brought(
        self, images: Integers, rows: Rows, names: pa.Array, name: Rows, size: int
    ) -> tuple[Integers, Rows]:
        """Uses with those that aliases and implications add, after an image's own ones."""
        if not self._brought:
            return images, rows
        lists = [self._brought.get(text, ()) for text in names.to_pylist()]
        lengths = np.array([len(found) for found in lists], np.int64)
        table = np.array([row for found in lists for row in found], np.int32)
        counts = lengths[name]
        bringing = np.flatnonzero(counts)
        counts = counts[bringing]
        first = (np.cumsum(lengths) - lengths)[name[bringing]]
        # From the first row of each list on, counted up: no use is looked at twice.
        within = np.arange(counts.sum()) + np.repeat(first - (np.cumsum(counts) - counts), counts)
        return _merged(images, rows, np.repeat(images[bringing], counts), table[within], size)


def training_uses(manifest: Path, coder: TagCoder, file: Path | None = None) -> TagUses:
    """The tags of a manifest's training images, in its order.

    Args:
        manifest: A `MANIFEST` file; read piece by piece.
        coder: Knows the tags.
        file: Where the uses go, to be mapped into memory; None keeps them in memory.
    """
    starts, parts, end = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], 0
    with file.open("wb") if file else contextlib.nullcontext() as out:
        for uses in on_all_cores(coder.encode, training_tags(manifest)):
            starts.append(uses.starts[1:] + end)
            end += len(uses.rows)
            if out:
                uses.rows.tofile(out)
            else:
                parts.append(uses.rows)
    # A plain array over the map: the subclass makes each index slower. No file of 0 bytes maps.
    rows = np.asarray(np.memmap(file, np.int32, "r")) if file and end else np.concatenate(parts)
    return TagUses(np.concatenate(starts), rows)


def training_tags(manifest: Path) -> Iterator[pa.ListArray]:
    """The tags of a manifest's training images as `tag_batches` gives them."""
    for batch, tags in tag_batches(manifest):
        yield tags.filter(pc.equal(batch.column("split"), "train"))


def tag_batches(
    manifest: Path, columns: Sequence[str] = ("split",), groups: Sequence[int] | None = None
) -> Iterator[tuple[pa.RecordBatch, pa.ListArray]]:
    """A manifest's columns and its tags, at most 100,000 images of one row group at a time.

    Tag names come as dictionary arrays, so that no text is handled twice.

    Args:
        manifest: A `MANIFEST` file.
        columns: What to read besides the tags.
        groups: The file's row groups that are read; None reads all.
    """
    # By default pyarrow reads all groups ahead and keeps their bytes as long as the file is open.
    with pq.ParquetFile(manifest, read_dictionary=TAG_LEAVES, pre_buffer=False) as file:
        for group in range(file.num_row_groups) if groups is None else groups:
            # Each group has a dictionary of its own, and pyarrow does not join those within lists.
            for batch in file.iter_batches(IMAGES_AT_ONCE, [group], columns=[*columns, "tags"]):
                yield batch, batch.column("tags")


def _merged(
    images: Integers, rows: Rows, other_images: Integers, other_rows: Rows, size: int
) -> tuple[Integers, Rows]:
    """Uses of [size] images, ascending in both, with the others' after each image's own."""
    own, others = (np.bincount(found, minlength=size) for found in (images, other_images))
    # Both are in order, so a use moves by what the other side has before it.
    before = np.cumsum(others) - others
    at = np.arange(len(images)) + np.repeat(before, own)
    other_at = np.arange(len(other_images)) + np.repeat(np.cumsum(own), others)
    merged = np.empty(len(images) + len(other_images), np.int32)
    merged[at], merged[other_at] = rows, other_rows
    return np.repeat(np.arange(size), own + others), merged


def _without_doubles(images: Integers, rows: Rows, tags: int) -> tuple[Integers, Rows]:
    """The first of equal (image, row) pairs; images are in ascending order."""
    keys = images * max(tags, 1) + rows
    # Images are whole in each piece, and a piece stays in the processor's cache.
    ends = [*np.searchsorted(images, images[_SORTED_AT_ONCE::_SORTED_AT_ONCE]), len(keys)]
    pieces = itertools.pairwise([0, *ends])
    again = np.concatenate([_later_doubles(keys[start:end]) + start for start, end in pieces])
    if not len(again):
        return images, rows
    kept = np.ones(len(rows), dtype=bool)
    kept[again] = False
    return images[kept], rows[kept]


def _later_doubles(keys: Integers) -> Integers:
    """Places of all but the first of equal keys, which are 0 or more."""
    if not len(keys):
        return np.zeros(0, np.int64)
    bits = len(keys).bit_length()
    if int(keys.max()).bit_length() + bits > 63:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
        return np.asarray(order[1:][ordered[1:] == ordered[:-1]])
    # Sorting whole numbers is ten times as fast as sorting places by them, so a key takes its place
    # along in its lowest bits.
    packed = keys << bits
    packed |= np.arange(len(keys))
    packed.sort()
    # Equal keys differ in the bits of their places alone.
    again = packed[1:][(packed[1:] ^ packed[:-1]) < 1 << bits]
    return np.asarray(again & ((1 << bits) - 1))


def _places(values: pa.Array, known: pa.Array) -> Integers:
    """Where each value stands in `known`; behind its end where it does not."""
    found = pc.index_in(values, value_set=known)
    return np.asarray(pc.fill_null(found, len(known)).to_numpy())


def encoded(values: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """Texts as a dictionary array, which they may be already."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
