"""Millions of files as columns: making tables of them and taking paths apart, all at once."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.paths import IMAGE_NAME
from nadir.data.sources.interfaces import FILES
from nadir.data.tables import LISTING, TAG_SOURCES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import TypeAlias

    Column: TypeAlias = pa.ChunkedArray
    FileColumns: TypeAlias = tuple[list[str], list[int], list[int]]
    Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]

_BATCH = 1 << 16
TAGS = ["tags_path", "tags_size", "tags_version"]
"""Columns of a listing that say where an image's tags are."""
MORE_TAGS = "more_tags"
"""Column of a listing with what says something about an image besides."""


def file_table(files: Iterable[tuple[str, int, str]]) -> pa.Table:
    """(path, size, version) of any number of files as a table of schema `FILES`, sorted by path."""
    rows, batches = iter(files), []
    # In batches: as Python objects millions of files would take gigabytes.
    while batch := list(itertools.islice(rows, _BATCH)):
        columns = [list(column) for column in zip(*batch, strict=True)]
        batches.append(pa.record_batch(columns, schema=FILES))
    return by_path(pa.Table.from_batches(batches, FILES))


def stamped_table(parts: Iterable[FileColumns]) -> pa.Table:
    """`file_table` of columns (paths, sizes, times of change in ns) of some files after another."""
    batches = [_stamped(*part) for part in parts]
    return by_path(pa.Table.from_batches(batches, FILES))


def by_path(table: pa.Table) -> pa.Table:
    """A table sorted by its column `path`, in one piece."""
    paths = table.column("path").combine_chunks()
    if len(paths) > 1 and not pc.all(pc.less_equal(paths[:-1], paths[1:])).as_py():
        table = table.sort_by("path")
    return table.combine_chunks()


def _stamped(paths: list[str], sizes: list[int], times: list[int]) -> pa.RecordBatch:
    try:
        versions = pa.array(times, pa.int64()).cast(pa.string())
    except OverflowError:  # a time after the year 2262
        versions = pa.array([str(time) for time in times], pa.string())
    return pa.record_batch([pa.array(paths), pa.array(sizes), versions], schema=FILES)


def matching(table: pa.Table, pattern: str) -> Column:
    """Which rows' paths match a regular expression."""
    return pc.match_substring_regex(table.column("path"), pattern)


def images_of(files: pa.Table) -> pa.Table:
    """The files that are named like images."""
    return files.filter(matching(files, IMAGE_NAME))


def stems(paths: Column) -> Column:
    """Paths without their names' endings."""
    return pc.replace_substring_regex(paths, r"(?s)([^/])\.[^./]*$", r"\1")


def names(paths: Column) -> Column:
    """The last parts of paths."""
    return pc.replace_substring_regex(paths, r"(?s)^.*/", "")


def record_names(paths: Column) -> Column:
    """Paths without endings, inside a tar from its root: what an image is called without an id."""
    return stems(pc.replace_substring_regex(paths, r"(?is)^.*?\.tar::", ""))


def rows_of(wanted: Column, known: Column) -> Column:
    """Row of each wanted value in `known`, the first where there are several; null without one."""
    if isinstance(known, pa.ChunkedArray):
        known = known.combine_chunks()
    return pc.index_in(wanted, value_set=known, skip_nulls=True)


def listing_table(length: int, **columns: Any) -> pa.Table:
    """A table of schema `LISTING`; columns that are not given hold nulls."""
    arrays = [
        columns.get(field.name, pa.nulls(length, field.type)) for field in LISTING
    ]  # fmt: skip
    cast = [
        array.cast(field.type)
        if isinstance(array, pa.Array | pa.ChunkedArray)
        else pa.array(array, field.type)
        for array, field in zip(arrays, LISTING, strict=True)
    ]
    return pa.Table.from_arrays(cast, schema=LISTING)


def problem_table(problems: Iterable[tuple[str, str, str]]) -> pa.Table:
    """(path, reason, detail) of what is named like an image and is none, as rows of a listing."""
    rows = [
        {"path": path, "size": 0, "version": "", "problem": reason, "detail": detail}
        for path, reason, detail in problems
    ]
    return pa.Table.from_pylist(rows, schema=LISTING)


def tag_sources(choices: Sequence[tuple[pa.Table, Integers]]) -> dict[str, Any]:
    """Columns `TAGS` and `MORE_TAGS` of a listing, from where each image's tags may be.

    Args:
        choices: In the order in which they count, files of schema `FILES` and for each image its
            row in them, -1 for none.
    """
    # Mostly there is but one kind of tag file: nothing has to be moved then.
    choices = [choice for choice in choices if choice[0].num_rows] or list(choices[:1])
    known = pa.concat_tables([FILES.empty_table(), *(files for files, _ in choices)])
    starts = np.cumsum([0, *(files.num_rows for files, _ in choices)])
    columns = [
        np.where(rows >= 0, rows + start, -1)
        for (_, rows), start in zip(choices, starts[:-1], strict=True)
    ]
    # Images down, choices across; what is there moves to the left.
    placed = np.stack(columns, axis=1)
    if len(columns) > 1:
        placed = np.take_along_axis(placed, np.argsort(placed < 0, axis=1, kind="stable"), axis=1)
    first = placed[:, 0]
    chosen = known.take(pa.array(first, mask=first < 0))
    named = dict(zip(TAGS, chosen.columns, strict=True))
    return named | {MORE_TAGS: _lists(known, placed[:, 1:])}


def _lists(known: pa.Table, rows: Integers) -> pa.Array:
    """Each image's rows of `known` as a list; null for none."""
    there = rows >= 0
    counts = there.sum(axis=1)
    taken = known.take(pa.array(rows[there])).combine_chunks()
    parts = [column.combine_chunks() for column in taken.columns]
    structs = pa.StructArray.from_arrays(parts, fields=list(TAG_SOURCES.value_type))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, structs, TAG_SOURCES, mask=pa.array(counts == 0))
