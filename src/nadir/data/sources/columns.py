"""Millions of files as columns: making tables of them and taking paths apart, all at once."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.paths import IMAGE_NAME
from nadir.data.sources.interfaces import FILES
from nadir.data.tables import LISTING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import TypeAlias

    Column: TypeAlias = pa.ChunkedArray

_BATCH = 1 << 16
TAGS = ["tags_path", "tags_size", "tags_version"]
"""Columns of a listing that say where an image's tags are."""


def file_table(files: Iterable[tuple[str, int, str]]) -> pa.Table:
    """(path, size, version) of any number of files as a table of schema `FILES`, sorted by path."""
    rows, batches = iter(files), []
    # In batches: as Python objects millions of files would take gigabytes.
    while batch := list(itertools.islice(rows, _BATCH)):
        columns = [list(column) for column in zip(*batch, strict=True)]
        batches.append(pa.record_batch(columns, schema=FILES))
    return pa.Table.from_batches(batches, FILES).sort_by("path").combine_chunks()


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
