"""Which image a metadata row is about: by its path, else by ever vaguer names.

Exact paths go first, over the whole source. What is left is looked for in the folder of the
metadata file and below it, then in the folder above, and so on; and there the plainest name first.
A name that several images have finds none of them, and neither does one image that rows of
different names lead to.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.large_tables import distinct, valid
from nadir.data.paths import IMAGE_NAME
from nadir.data.sources.columns import matching, names, rows_of, stems
from nadir.data.sources.rows.image_names import find_in_names

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from nadir.data.sources.rows.metadata_files import AllRows

    Column: TypeAlias = pa.ChunkedArray
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

_MOST_PARTS = 8


def find_images(rows: AllRows, files: pa.Table, tagged: Mask) -> Integers:
    """Row of `files` that each metadata row is about; -1 without one.

    Args:
        rows: Of all metadata files.
        files: Of schema `FILES`, sorted by path.
        tagged: Which files are images that have tags beside them.
    """
    return _Search(rows, files, tagged).found


class _Search:
    """Rows and images, and which of them have found each other."""

    def __init__(self, rows: AllRows, files: pa.Table, tagged: Mask) -> None:
        self.rows, self.paths, self.tagged = rows, files.column("path"), tagged
        self.numbers = rows.table.column("file").to_numpy()
        self.found = np.full(rows.table.num_rows, -1, dtype=np.int64)
        # Only what is named can be looked for; rows that hold their image need not be.
        self.open = ~rows.table.column("embedded").fill_null(False).to_numpy()
        is_image = np.asarray(matching(files, IMAGE_NAME).to_numpy(), dtype=np.bool_)
        self.free = is_image.copy()
        self._exact()
        for scope, taking_part in self._scopes():
            self._search(scope, taking_part)

    def of_rows(self, attribute: str) -> Mask:
        """Which rows are of a layout with some property of its matching."""
        by_file = [bool(getattr(file.layout.matching, attribute)) for file in self.rows.files]
        mask: Mask = np.asarray(by_file, dtype=np.bool_)[self.numbers]
        return mask

    def _exact(self) -> None:
        self._take(self._wanted(self.open), _rows(self._column("image"), self.paths))
        if (from_root := self.of_rows("from_root")).any():
            self._take(self._wanted(from_root), _rows(self._column("from_root"), self.paths))

    def _column(self, name: str) -> Column:
        return self.rows.table.column(name)

    def _wanted(self, mask: Mask) -> Mask:
        open_: Mask = mask & self.open & (self.found < 0)
        return open_

    def _take(self, mask: Mask, other: Integers) -> None:
        taken = mask & (other >= 0)
        self.found[taken] = other[taken]
        self.free[other[taken]] = False

    def _scopes(self) -> Iterator[tuple[str, Mask]]:
        """(folder, files that look there) in turn: own folders, the ones above, to the root."""
        folders = [file.folder for file in self.rows.files]
        stay = np.array([file.layout.matching.own_folder for file in self.rows.files], np.bool_)
        climbing = np.ones(len(folders), dtype=np.bool_)
        while climbing.any():
            for folder in sorted({f for f, on in zip(folders, climbing, strict=True) if on}):
                here = np.array([f == folder for f in folders]) & climbing
                yield folder, here
            climbing &= ~stay & np.array([bool(folder) for folder in folders])
            folders = [_above(folder) for folder in folders]

    def _search(self, scope: str, files: Mask) -> None:
        """Look for what the rows of some files call images, in a folder and below."""
        wanted = np.flatnonzero(self._wanted(files[self.numbers]))
        if not len(wanted):
            return
        start, end = self._span(scope)
        free = self.free[start:end].copy()
        has_found = np.isin(self.numbers[wanted], distinct(self.numbers[self.found >= 0]))
        self._within(wanted[~has_found], start, free)
        # What is described elsewhere belongs to others, once the file has images of its own.
        others = free & ~self.tagged[start:end] & self.free[start:end]
        for below, first, last in self._other_folders(scope, files):
            if below:
                others[first - start : last - start] = False
        self._within(wanted[has_found], start, others if not self._is_own(scope, files) else free)

    def _is_own(self, scope: str, files: Mask) -> bool:
        return all(self.rows.files[n].folder == scope for n in np.flatnonzero(files))

    def _other_folders(self, scope: str, files: Mask) -> Iterator[tuple[bool, int, int]]:
        own = {self.rows.files[n].folder for n in np.flatnonzero(files)}
        for folder in {file.folder for file in self.rows.files} - own:
            if folder.startswith(scope) and folder != scope:
                yield True, *self._span(folder)

    def _span(self, folder: str) -> tuple[int, int]:
        """First and last place of the paths in a folder and below."""
        if not folder:
            return 0, len(self.paths)
        # Sorted as bytes, so all of them lie between the folder and the name after its last.
        low = int(pc.sum(pc.less(self.paths, folder)).as_py())
        return low, low + int(pc.sum(pc.starts_with(self.paths, folder)).as_py() or 0)

    def _within(self, wanted: Integers, start: int, free: Mask) -> None:
        """The passes, from the plainest name on, of some rows and the images of a folder."""
        places = np.flatnonzero(free)
        if not len(wanted) or not len(places):
            return
        images = _Images(self.paths.take(pa.array(places + start)), places + start)
        vague = self.of_rows("vague")[wanted]
        table = self.rows.table
        relative = _composed(table.column("image").take(pa.array(wanted)))
        tail = _composed(table.column("tail").take(pa.array(wanted)))
        written = pc.coalesce(tail, relative)
        self._try(wanted, relative, images.composed, images)
        if (from_root := self.of_rows("from_root")[wanted]).any():
            rooted = _composed(table.column("from_root").take(pa.array(wanted)))
            self._try(wanted, _masked(rooted, from_root), images.composed, images)
        elsewhere = ~np.isin(self.numbers[wanted], distinct(self.numbers[self.found >= 0]))
        vaguer = vague | valid(tail) | elsewhere
        if vaguer.any() and pc.any(pc.is_valid(written)).as_py():
            self._vaguely(wanted, _masked(written, vaguer), images)
        for key in ("md5", "id"):
            by_key = np.array([key in f.layout.matching.keys for f in self.rows.files], np.bool_)
            values = _masked(table.column(key).take(pa.array(wanted)), by_key[self.numbers[wanted]])
            self._try(wanted, pc.utf8_lower(values), pc.utf8_lower(images.bare), images)
            left = _masked(values, self.found[wanted] < 0)
            self._found_by(
                wanted, left, find_in_names(left, images.free_names(self.free), key), images
            )

    def _vaguely(self, wanted: Integers, written: Column, images: _Images) -> None:
        """By the last parts of a path, the more the better; case counts unless all else fails."""
        for lower in (False, True):
            known, called = images.composed, written
            if lower:
                known, called = pc.utf8_lower(known), pc.utf8_lower(called)
            bare = stems(known)
            self._try(wanted, called, known, images)
            self._try(wanted, stems(called), bare, images)
            for parts in range(min(_depth(called), _depth(known)), 0, -1):
                for whole, ending in ((called, known), (stems(called), bare), (called, bare)):
                    self._try(wanted, _tails(whole, parts), _tails(ending, parts), images)

    def _try(self, wanted: Integers, called: Column, known: Column, images: _Images) -> None:
        still = self.found[wanted] < 0
        if not still.any():
            return
        called = _masked(called, still)
        if called.null_count == len(called):
            return
        free = _masked(known, self.free[images.places])
        self._found_by(wanted, called, _rows(called, _unambiguous(free)), images)

    def _found_by(self, wanted: Integers, called: Column, other: Integers, images: _Images) -> None:
        """Take what rows have found, but no image that rows of different names lead to."""
        hit = np.flatnonzero(other >= 0)
        if not len(hit):
            return
        written = self.rows.table.column("written").take(pa.array(wanted[hit]))
        said = pc.coalesce(written, called.take(pa.array(hit))).dictionary_encode()
        codes = said.combine_chunks().indices.to_numpy(zero_copy_only=False)
        image = other[hit]
        lowest, highest = np.full(len(images.places), len(hit)), np.full(len(images.places), -1)
        np.minimum.at(lowest, image, codes)
        np.maximum.at(highest, image, codes)
        hit = hit[(lowest == highest)[image]]
        self.found[wanted[hit]] = images.places[other[hit]]
        self.free[images.places[other[hit]]] = False


class _Images:
    """Images of a folder, by their names."""

    def __init__(self, paths: Column, places: Integers) -> None:
        # What a tar holds lies in it as in a folder.
        within = pc.replace_substring_regex(paths, r"(?i)(\.tar)::", r"\1/")
        self.places, self.composed = places, _composed(within)
        self.bare = stems(names(self.composed))

    def free_names(self, free: Mask) -> Column:
        """Names without endings of those that have no row yet; null for the others."""
        return _masked(self.bare, free[self.places])


def _above(folder: str) -> str:
    above = posixpath.dirname(folder.rstrip("/"))
    return f"{above}/" if above else ""


def _composed(paths: Column) -> Column:
    """Paths in Unicode's NFC: macOS takes names apart (NFD), and metadata is written elsewhere."""
    return pc.utf8_normalize(paths, form="NFC")


def _depth(paths: Column) -> int:
    return min(_MOST_PARTS, 1 + (pc.max(pc.count_substring(paths, "/")).as_py() or 0))


def _tails(paths: Column, parts: int) -> Column:
    """The last parts of paths; null for those with fewer."""
    if parts == 1:
        return names(paths)
    pattern = rf"(?s)^(?:.*/)?((?:[^/]*/){{{parts - 1}}}[^/]*)$"
    enough = pc.greater_equal(pc.count_substring(paths, "/"), parts - 1)
    tails = pc.replace_substring_regex(paths, pattern, r"\1")
    return pc.if_else(enough, tails, pa.scalar(None, pa.string()))


def _masked(column: Column, keep: Mask) -> Column:
    return pc.if_else(pa.array(keep), column, pa.scalar(None, pa.string()))


def _unambiguous(known: Column) -> Column:
    """The names with null where an image shares its name with another."""
    counts = pc.value_counts(known)
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    return pc.if_else(pc.is_in(known, several), pa.scalar(None, pa.string()), known)


def _rows(wanted: Column, known: Column) -> Integers:
    return np.asarray(rows_of(wanted, known).fill_null(-1).to_numpy(), dtype=np.int64)
