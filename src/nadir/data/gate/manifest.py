"""The usable images as rows of what was found, put together only when they are written.

The tags of six million images are seven gigabytes as text. Here they stay numbers in the order in
which the images were listed; what is asked of them as a whole is counted there, and rows become
text a row group at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.coded_tags import CODES, TagBook, decode, encode_all
from nadir.data.gate.near_duplicates import hash_values
from nadir.data.large_tables import take_rows
from nadir.data.mapped_tables import in_order
from nadir.data.row_groups import ROWS_PER_GROUP, regrouped
from nadir.data.sources.columns import record_names
from nadir.data.tables import MANIFEST

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from nadir.data.gate.near_duplicates import Hashes
    from nadir.data.inspection.listing import ListingFacts

    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

_FACTS = ["sha256", "width", "height", "format", "mean_luminance", "perceptual_hash"]
_TAG_FACTS = ["rating", "captions", "score", "year", "kept_tags"]
_LISTED = ["path", "repeats"]


@dataclass(frozen=True)
class Manifest:
    """Usable images, sorted by sha256.

    Attributes:
        found: By name, columns of the listing, the facts and the tags' facts, of all listed images.
        tags: Of all listed images, as numbers.
        names: The tag of each number.
        classes: Its class.
        rows: [N] which listed image each usable one is.
        held: [N] which of them are held out.
    """

    found: pa.Table
    tags: pa.ChunkedArray
    names: pa.Array
    classes: pa.Array
    rows: Rows
    held: Mask

    @property
    def num_rows(self) -> int:
        """Usable images."""
        return len(self.rows)

    def with_split(self, held: Mask) -> Manifest:
        """The same images, of which those of `held` [N] are held out."""
        return replace(self, held=held)

    def column(self, name: str) -> pa.ChunkedArray:
        """A column of the facts, the listing or the tags' facts, in the order of the rows."""
        column = self.found.column(name)
        if pa.types.is_primitive(column.type):
            return pa.chunked_array([column.combine_chunks().take(pa.array(self.rows))])
        return take_rows(self.found.select([name]), self.rows).column(0)

    def used(self, name: str) -> pa.ChunkedArray:
        """A column as `column` gives it, in the order in which the images were listed."""
        return self.found.column(name).filter(pa.array(self._used))

    def perceptual_hashes(self) -> Hashes:
        """Of each row, as a number [N]."""
        # As numbers they are put in order five times as fast as as texts.
        texts = self.found.column("perceptual_hash").fill_null("0" * 16)
        return hash_values(texts)[self.rows]

    @property
    def _used(self) -> Mask:
        used = np.zeros(self.found.num_rows, dtype=bool)
        used[self.rows] = True
        return used

    def pieces(
        self,
        size: int = ROWS_PER_GROUP,
        *,
        at_once: int | None = None,
        folder: Path | None = None,
    ) -> Iterator[pa.Table]:
        """The rows of schema `MANIFEST`, `size` at a time; tags are dictionary arrays.

        Args:
            size: Rows of a piece.
            at_once: With more rows than these, what was found is read in its own order and put
                into that of the rows by way of files, so many at a time: it may lie on disk then.
            folder: For those files.
        """
        found, start = self.found.append_column("tags", self.tags), 0
        if folder and at_once and self.num_rows > at_once:
            parts = in_order(found, self.rows, at_once=at_once, folder=folder)
        else:
            starts = range(0, self.num_rows, size)
            parts = (take_rows(found, self.rows[at : at + size]) for at in starts)
        for piece in regrouped(parts, size):
            yield self._piece(piece, self.held[start : start + len(piece)], texts=False)
            start += len(piece)
        if not start:
            yield MANIFEST.empty_table()

    def table(self, count: int | None = None) -> pa.Table:
        """The first images, or all, as one table of schema `MANIFEST`."""
        rows = self.rows[:count]
        if not len(rows):
            return MANIFEST.empty_table()
        found = take_rows(self.found.append_column("tags", self.tags), rows)
        return self._piece(found, self.held[:count], texts=True).cast(MANIFEST)

    def tag_counts(self) -> pa.Table:
        """How often each tag is used: columns `tag` and `count`, the most frequent first."""
        counts, left_out, start = np.zeros(len(self.names), np.int64), ~self._used, 0
        for chunk in self.tags.chunks:
            # Few images are left out: their tags are taken off again.
            others = chunk.filter(pa.array(left_out[start : start + len(chunk)]))
            for codes, sign in ((chunk, 1), (others, -1)):
                counts += sign * np.bincount(codes.flatten().to_numpy(), minlength=len(counts))
            start += len(chunk)
        used = np.flatnonzero(counts)
        table = pa.table({"tag": self.names.take(pa.array(used)), "count": counts[used]})
        # A name may be there with several classes.
        table = table.group_by("tag").aggregate([("count", "sum")]).rename_columns(["tag", "count"])
        return table.sort_by([("count", "descending"), ("tag", "ascending")])

    def _piece(self, found: pa.Table, held: Mask, *, texts: bool) -> pa.Table:
        codes = found.column("tags").combine_chunks()
        filled = codes.fill_null(pa.scalar([], CODES)) if codes.null_count else codes
        paths = found.column("path")
        columns: dict[str, Any] = {name: found.column(name) for name in found.column_names}
        columns |= {
            "split": pc.if_else(pa.array(held), "holdout", "train"),
            "tags": decode(filled, self.names, self.classes, texts=texts),
            "record_id": pc.coalesce(found.column("record_id"), record_names(paths)),
        }
        return pa.table({name: columns[name] for name in MANIFEST.names})


def manifest_of(
    listing: pa.Table, found: ListingFacts, rows: Rows, vocabulary: Sequence[tuple[str, str]]
) -> Manifest:
    """The manifest of some listed images, all for training.

    Args:
        listing: Of schema `LISTING`.
        found: What is known about its rows.
        rows: [N] which of them are usable, in the order of their sha256.
        vocabulary: (tag, class) for tags whose file names no class; the first of a tag counts.
    """
    columns = {name: listing.column(name) for name in _LISTED}
    columns |= {name: found.facts.column(name) for name in _FACTS}
    columns |= {name: found.tags.column(name) for name in (*_TAG_FACTS, "record_id")}
    book, tags = found.book, found.tags.column("tags")
    if book is None:
        book = TagBook()
        tags = encode_all(tags, book)
    names, given = book.pairs()
    classes = _with_classes(names, given, vocabulary)
    return Manifest(pa.table(columns), tags, names, classes, rows, np.zeros(len(rows), dtype=bool))


def _with_classes(
    names: pa.Array, given: pa.Array, vocabulary: Sequence[tuple[str, str]]
) -> pa.Array:
    """The class of each tag: the given one; without it the vocabulary's, else `general`."""
    known = pa.array([tag for tag, _ in vocabulary], pa.string())
    classes = pa.array([kind for _, kind in vocabulary], pa.string())
    looked_up = classes.take(pc.index_in(names, known)).fill_null("general")
    return pc.if_else(pc.equal(given, ""), looked_up, given)
