"""Lists of tags as numbers, four bytes a use: what millions of images carry, before it is counted.

`nadir.data.tags.codes` codes tags by a finished `TAGS` table. Here the numbers are given out as the
tags come.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Places = NDArray[np.int32]

CODES: pa.DataType = pa.list_(pa.int32())
"""Tags of one image as numbers of a `TagBook`."""
TAG_LEAVES: list[str] = [f"tags.list.element.{name}" for name in ("name", "class")]
"""Parquet columns of a file's `tags` that are read as dictionary arrays: coding is quick then."""
_CLASS_BITS = 31
# Counting every possible pair is quicker than hashing each use unless few uses meet many names.
_PAIRS_A_USE = 4


class UsedPairs(NamedTuple):
    """The P different pairs of a name and a class that some images carry with their U tags.

    Attributes:
        names: [P] texts.
        classes: [P] texts.
        counts: [P] how many of the uses each pair is.
        places: [U] the pair of each use, int32.
    """

    names: pa.Array
    classes: pa.Array
    counts: Integers
    places: Places


def used_pairs(tags: pa.ListArray) -> UsedPairs:
    """What some images carry. May be called by several threads at once.

    Args:
        tags: [N] of type `TAG_LIST`; names and classes may be dictionary arrays.
    """
    uses = tags.flatten()
    names, classes = encoded(uses.field("name")), encoded(uses.field("class"))
    kinds = max(len(classes.dictionary), 1)
    keys = names.indices.to_numpy().astype(np.int64) * kinds
    keys += classes.indices.to_numpy()
    used, counts, places = _counted(keys, len(names.dictionary) * kinds)
    name, kind = (pa.array(part) for part in np.divmod(used, kinds))
    return UsedPairs(names.dictionary.take(name), classes.dictionary.take(kind), counts, places)


def _counted(keys: Integers, size: int) -> tuple[Integers, Integers, Places]:
    """The different keys (each below `size`), their counts, and each key's place among them."""
    if size <= _PAIRS_A_USE * len(keys):
        counts = np.bincount(keys, minlength=size)
        used = np.flatnonzero(counts)
        place = np.empty(size, np.int32)
        place[used] = np.arange(len(used))
        return used, counts[used], place[keys]
    pairs = pa.array(keys).dictionary_encode()
    places = pairs.indices.to_numpy()
    return np.asarray(pairs.dictionary.to_numpy()), np.bincount(places), places


class _Values:
    """Different texts or numbers, each with its place; new ones go to the end."""

    def __init__(self, kind: pa.DataType) -> None:
        self.all = pa.array([], kind)

    def places(self, values: pa.Array) -> Integers:
        """The place of each value, int64; what is not there yet is added."""
        found = pc.index_in(values, value_set=self.all)
        if found.null_count:
            new = values.filter(found.is_null()).unique()
            self.all = pa.concat_arrays([self.all, new])
            found = pc.index_in(values, value_set=self.all)
        return np.asarray(found.to_numpy(), np.int64)


class TagBook:
    """Gives each different pair of a name and a class its number, counted from 0 as they come."""

    def __init__(self) -> None:
        self._names, self._classes = _Values(pa.string()), _Values(pa.string())
        self._pairs = _Values(pa.int64())

    def encode(self, tags: pa.ListArray) -> pa.ListArray:
        """Code the tags of some images.

        Args:
            tags: [N] of type `TAG_LIST`; names and classes may be dictionary arrays.

        Returns:
            [N] of type `CODES`, null where `tags` is.
        """
        pairs = used_pairs(tags)
        numbers = self.numbers(pairs.names, pairs.classes)
        lengths = pc.list_value_length(tags).fill_null(0).to_numpy()
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
        codes = pa.array(numbers[pairs.places])
        return pa.ListArray.from_arrays(offsets, codes, CODES, mask=pc.is_null(tags))

    def pairs(self) -> tuple[pa.Array, pa.Array]:
        """Name and class of each number given so far."""
        name, kind = np.divmod(self._pairs.all.to_numpy(), 1 << _CLASS_BITS)
        return self._names.all.take(pa.array(name)), self._classes.all.take(pa.array(kind))

    def numbers(self, names: pa.Array, classes: pa.Array) -> Places:
        """The number of each pair of texts; what is not there yet is added."""
        name, kind = self._names.places(names), self._classes.places(classes)
        return self._pairs.places(pa.array((name << _CLASS_BITS) + kind)).astype(np.int32)


def encode_all(tags: pa.ChunkedArray, book: TagBook) -> pa.ChunkedArray:
    """`TagBook.encode` of each chunk."""
    return pa.chunked_array([book.encode(chunk) for chunk in tags.chunks], CODES)


def decode(
    codes: pa.ListArray, names: pa.Array, classes: pa.Array, *, texts: bool = True
) -> pa.ListArray:
    """Lists of numbers as lists of tags.

    Args:
        codes: [N] of type `CODES`.
        names: [V] by number.
        classes: [V] by number.
        texts: Whether names and classes are text; else they are dictionary arrays.

    Returns:
        [N] as type `TAG_LIST` says, null where `codes` is.
    """
    flat = codes.flatten()
    fields = [column.take(flat) if texts else _packed(column, flat) for column in (names, classes)]
    tags = pa.StructArray.from_arrays(fields, ["name", "class"])
    lengths = pc.list_value_length(codes).fill_null(0).to_numpy()
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, tags, mask=pc.is_null(codes))


def _packed(texts: pa.Array, numbers: pa.Array) -> pa.DictionaryArray:
    """The text of each number, with each different text once."""
    each = texts.dictionary_encode()
    return pa.DictionaryArray.from_arrays(each.indices.take(numbers), each.dictionary)


def encoded(values: pa.Array | pa.ChunkedArray) -> pa.DictionaryArray:
    """Texts as a dictionary array, which they may be already."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    return values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
