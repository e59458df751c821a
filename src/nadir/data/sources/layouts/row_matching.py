"""Which image a metadata row is about: by its path, else by ever vaguer names."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.paths import IMAGE_NAME
from nadir.data.sources.columns import matching, names, rows_of, stems

if TYPE_CHECKING:
    from typing import TypeAlias

    from nadir.data.sources.layouts.metadata_layout import Matching

    Column: TypeAlias = pa.ChunkedArray
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


def find_images(rows: pa.Table, files: pa.Table, rules: Matching) -> Integers:
    """Row of `files` that each metadata row is about; -1 without one.

    Args:
        rows: With the columns of `rows.ROWS` that name images, and `row_path`.
        files: Of schema `FILES`.
        rules: The layout's.
    """
    everything = files.column("path")
    images = np.flatnonzero(np.asarray(matching(files, IMAGE_NAME).to_numpy(), dtype=np.bool_))
    paths = everything.take(pa.array(images))
    found = np.full(rows.num_rows, -1, dtype=np.int64)
    exact = ["image", "from_root"] if rules.from_root else ["image"]
    for name in exact:
        _fill(found, _rows(rows.column(name), everything))
    if rules.vague:
        _fill(found, _rows(rows.column("image"), stems(paths)), images)
    # All exact paths first: no vaguer name may take an image that has a row of its own.
    known = _composed(paths)
    composed = {name: _composed(rows.column(name)) for name in exact}
    wanted = [(composed[name], known) for name in exact]
    if rules.vague:
        wanted += _vague_names(rows, composed["image"], known, rules)
    for names_wanted, names_known in wanted:
        taken = np.isin(images, found[found >= 0])
        other = _rows(names_wanted, _unambiguous(names_known, taken))
        if rules.own_folder:
            other = _within_folder(other, rows, paths)
        _fill(found, other, images)
    return found


def _vague_names(
    rows: pa.Table, written: Column, known: Column, rules: Matching
) -> list[tuple[Column, Column]]:
    """What rows may call images and what images are called, the plainest first.

    That is a path without its ending, the end of that, the last name alone, md5 or id. A name that
    several images have finds none of them.
    """
    bare, last = stems(names(known)), names(written)
    found = [(written, stems(known)), (_tails(stems(written)), _tails(stems(known)))]
    found.append((stems(last), bare))
    if rules.own_folder:
        # A bare name may hold dots of its own.
        found.append((last, bare))
    return [*found, *((rows.column(key), bare) for key in rules.keys)]


def _composed(paths: Column) -> Column:
    """Paths in Unicode's NFC: macOS takes names apart (NFD), and metadata is written elsewhere."""
    return pc.utf8_normalize(paths, form="NFC")


def _tails(paths: Column) -> Column:
    """The last two parts of paths; null for those with one."""
    whole = pc.match_substring(paths, "/")
    tails = pc.replace_substring_regex(paths, r"(?s)^.*/([^/]*/[^/]*)$", r"\1")
    return pc.if_else(whole, tails, pa.scalar(None, pa.string()))


def _unambiguous(known: Column, taken: Mask) -> Column:
    """The names with null where an image has a row already, or shares its name with another."""
    free = pc.if_else(pa.array(taken), pa.scalar(None, pa.string()), known)
    counts = pc.value_counts(free)
    several = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    return pc.if_else(pc.is_in(free, several), pa.scalar(None, pa.string()), free)


def _within_folder(other: Integers, rows: pa.Table, paths: Column) -> Integers:
    """The finds that lie in or below the folder of their metadata file; else -1."""
    folder = pc.replace_substring_regex(rows.column("row_path"), r"(?s)[^/]*$", "")
    path = paths.take(pa.array(other, mask=other < 0))
    inside = [
        where is not None and where.startswith(of_row)
        for where, of_row in zip(path.to_pylist(), folder.to_pylist(), strict=True)
    ]
    return np.where(inside, other, -1)


def _rows(wanted: Column, known: Column) -> Integers:
    return np.asarray(rows_of(wanted, known).fill_null(-1).to_numpy(), dtype=np.int64)


def _fill(found: Integers, other: Integers, positions: Integers | None = None) -> None:
    """Put other finds where there is none yet; they count in `positions` when these are given."""
    open_ = (found < 0) & (other >= 0)
    found[open_] = other[open_] if positions is None else positions[other[open_]]
