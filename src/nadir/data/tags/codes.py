"""The tags of many images as numbers: rows of a `TAGS` table, four bytes a use.

Six million images with thirty-five tags each are 0.8 GB this way, and 7 GB as text.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

IMAGES_AT_ONCE = 100_000
# Neither appears in a tag: sources split tags at white space and commas.
_KEY_SEPARATOR = "\n"
_TAG_LEAVES = [f"tags.list.element.{name}" for name in ("name", "class")]


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
        self._keys = _joined(tags["class"], tags["tag"])
        self._brought: dict[str, list[int]] = defaultdict(list)
        for row, names in enumerate(tags["from_names"].to_pylist()):
            for name in names:
                self._brought[name].append(row)

    def encode(self, tags: pa.ListArray) -> TagUses:
        """Code some images.

        Args:
            tags: [N] of type `TAG_LIST`; names and classes may be dictionary arrays.
        """
        uses, size = tags.flatten(), len(tags)
        images = np.repeat(np.arange(size), pc.list_value_length(tags).to_numpy())
        names, classes = _encoded(uses.field("name")), _encoded(uses.field("class"))
        name, tag_class = names.indices.to_numpy(), classes.indices.to_numpy()
        rows = self._own(names.dictionary, classes.dictionary)[name, tag_class]
        images, rows = self._with_brought(images, rows, names.dictionary, name)
        known = rows >= 0
        images, rows = _without_doubles(images[known], rows[known], len(self._keys))
        starts = np.zeros(size + 1, np.int64)
        np.cumsum(np.bincount(images, minlength=size), out=starts[1:])
        return TagUses(starts, rows.astype(np.int32))

    def _own(self, names: pa.Array, classes: pa.Array) -> Integers:
        """[names, classes] the row of each pair that is a tag, else -1."""
        pairs = pa.chunked_array(
            [_joined(pa.repeat(tag_class, len(names)), names) for tag_class in classes],
            type=pa.string(),
        )
        rows: Integers = pc.fill_null(pc.index_in(pairs, value_set=self._keys), -1).to_numpy()
        return rows.reshape(len(classes), len(names)).T

    def _with_brought(
        self, images: Integers, rows: Integers, names: pa.Array, name: Integers
    ) -> tuple[Integers, Integers]:
        """Uses with those that aliases and implications add, after an image's own ones."""
        if not self._brought:
            return images, rows
        lists = [self._brought.get(text, ()) for text in names.to_pylist()]
        lengths = np.array([len(found) for found in lists], np.int64)
        table = np.array([row for found in lists for row in found], np.int64)
        counts = lengths[name]
        first = np.repeat((np.cumsum(lengths) - lengths)[name], counts)
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        images = np.append(images, np.repeat(images, counts))
        order = _stable_order(images)
        return images[order], np.append(rows, table[first + within])[order]


def training_uses(manifest: Path, coder: TagCoder, file: Path | None = None) -> TagUses:
    """The tags of a manifest's training images, in its order.

    Args:
        manifest: A `MANIFEST` file; read piece by piece.
        coder: Knows the tags.
        file: Where the uses go, to be mapped into memory; None keeps them in memory.
    """
    starts, parts, end = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], 0
    with file.open("wb") if file else contextlib.nullcontext() as out:
        for batch, tags in tag_batches(manifest):
            uses = coder.encode(tags.filter(pc.equal(batch.column("split"), "train")))
            starts.append(uses.starts[1:] + end)
            end += len(uses.rows)
            if out:
                uses.rows.tofile(out)
            else:
                parts.append(uses.rows)
    # A plain array over the map: the subclass makes each index slower. No file of 0 bytes maps.
    rows = np.asarray(np.memmap(file, np.int32, "r")) if file and end else np.concatenate(parts)
    return TagUses(np.concatenate(starts), rows)


def tag_batches(
    manifest: Path, columns: Sequence[str] = ("split",), groups: Sequence[int] | None = None
) -> Iterator[tuple[pa.RecordBatch, pa.ListArray]]:
    """A manifest's columns and its tags, 100,000 images at a time.

    Tag names come as dictionary arrays, so that no text is handled twice.

    Args:
        manifest: A `MANIFEST` file.
        columns: What to read besides the tags.
        groups: The file's row groups that are read; None reads all.
    """
    # By default pyarrow reads all groups ahead and keeps their bytes as long as the file is open.
    with pq.ParquetFile(manifest, read_dictionary=_TAG_LEAVES, pre_buffer=False) as file:
        for batch in file.iter_batches(IMAGES_AT_ONCE, groups, columns=[*columns, "tags"]):
            yield batch, batch.column("tags")


def _without_doubles(images: Integers, rows: Integers, tags: int) -> tuple[Integers, Integers]:
    """The first of equal (image, row) pairs; images are in ascending order."""
    keys = images * max(tags, 1) + rows
    order = _stable_order(keys)
    again = order[1:][keys[order[1:]] == keys[order[:-1]]]
    kept = np.ones(len(keys), dtype=bool)
    kept[again] = False
    return images[kept], rows[kept]


def _stable_order(keys: Integers) -> Integers:
    """What `np.argsort(keys, kind="stable")` gives, of keys from 0 on."""
    if not len(keys):
        return np.zeros(0, np.int64)
    bits = len(keys).bit_length()
    if int(keys.max()).bit_length() + bits > 63:
        return np.argsort(keys, kind="stable")
    # Sorting whole numbers is ten times as fast as sorting places by them, so a key takes its place
    # along in its lowest bits.
    packed = keys << bits | np.arange(len(keys))
    packed.sort()
    return packed & ((1 << bits) - 1)


def _encoded(values: pa.Array) -> pa.DictionaryArray:
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()


def _joined(classes: pa.Array, names: pa.Array) -> pa.Array:
    """One string for each tag and its class."""
    joined = pc.binary_join_element_wise(classes, names, _KEY_SEPARATOR)
    return joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
