"""The tags of many images as numbers: rows of a `TAGS` table, four bytes a use.

Six million images with thirty-five tags each are 0.8 GB this way, and 7 GB as text.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from nadir.compute.cores import on_all_cores
from nadir.data.coded_tags import TAG_LEAVES, encoded, used_pairs
from nadir.data.tags.meanings import Meanings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]

IMAGES_AT_ONCE = 100_000


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


class UsesFile(contextlib.AbstractContextManager["UsesFile"]):
    """Takes the uses of many images piece by piece.

    Args:
        file: Where they go, to be mapped into memory; None keeps them in memory.
    """

    def __init__(self, file: Path | None) -> None:
        self._file, self._out = file, file.open("wb") if file else None
        self._counts, self._parts = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]

    def __exit__(self, *exception: object) -> None:
        """Close the file."""
        if self._out:
            self._out.close()

    def add(self, counts: NDArray[Any], rows: NDArray[np.int32]) -> None:
        """The next images: [N] how many uses each has, and these."""
        self._counts.append(counts)
        if self._out:
            rows.tofile(self._out)
        else:
            self._parts.append(rows)

    def read(self) -> TagUses:
        """All of them, once the file is closed."""
        starts = _starts(np.concatenate(self._counts))
        # A plain array over the map: the subclass makes each index slower. No file of 0 bytes maps.
        if self._file and starts[-1]:
            return TagUses(starts, np.asarray(np.memmap(self._file, np.int32, "r")))
        return TagUses(starts, np.concatenate(self._parts))


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
        # The last row and column are of what is not known.
        self._rows = np.full((len(self._names) + 1, len(self._classes) + 1), -1, np.int32)
        self._rows[names.indices.to_numpy(), classes.indices.to_numpy()] = np.arange(tags.num_rows)
        self._brought: dict[str, list[int]] = defaultdict(list)
        for row, found in enumerate(tags["from_names"].to_pylist()):
            for name in found:
                self._brought[name].append(row)

    def encode(self, tags: pa.ListArray) -> TagUses:
        """Code some images. May be called by several threads at once.

        Args:
            tags: [N] of type `TAG_LIST`; names and classes may be dictionary arrays.
        """
        pairs, lengths = used_pairs(tags), pc.list_value_length(tags).to_numpy()
        counts, rows = self.meanings(pairs.names, pairs.classes).rows(lengths, pairs.places)
        return TagUses(_starts(counts), rows)

    def meanings(self, names: pa.Array, classes: pa.Array) -> Meanings:
        """What pairs of a name and a class, texts of the same length, stand for."""
        own = self._rows[_places(names, self._names), _places(classes, self._classes)]
        brought = [self._brought.get(text, ()) for text in names.to_pylist() if self._brought]
        return Meanings(own, brought)


def training_uses(manifest: Path, coder: TagCoder, file: Path | None = None) -> TagUses:
    """The tags of a manifest's training images, in its order.

    Args:
        manifest: A `MANIFEST` file; read piece by piece.
        coder: Knows the tags.
        file: Where the uses go, to be mapped into memory; None keeps them in memory.
    """
    with UsesFile(file) as found:
        for uses in on_all_cores(coder.encode, training_tags(manifest)):
            found.add(np.diff(uses.starts), uses.rows)
    return found.read()


def meant_uses(uses: TagUses, meanings: Meanings, file: Path) -> TagUses:
    """What uses of names stand for, written and mapped like `training_uses`.

    Args:
        uses: The images' names, numbered as in `meanings`.
        meanings: What each name stands for.
        file: Where the result goes, four bytes a use.
    """

    def meant(piece: TagUses) -> tuple[NDArray[Any], NDArray[np.int32]]:
        return meanings.rows(np.diff(piece.starts), piece.rows)

    with UsesFile(file) as found:
        for counts, rows in on_all_cores(meant, uses.pieces()):
            found.add(counts, rows)
    return found.read()


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


def _starts(counts: NDArray[Any]) -> Integers:
    """Where each image's uses start, and where the last ones end."""
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts, dtype=np.int64)])


def _places(values: pa.Array, known: pa.Array) -> Integers:
    """Where each value stands in `known`; behind its end where it does not."""
    found = pc.index_in(values, value_set=known)
    return np.asarray(pc.fill_null(found, len(known)).to_numpy())
