"""What layouts with metadata files share: a row for each image says what it shows.

Images without a row may have a tag file beside them. A row without its image is listed with a
problem, and so is a second row for the same image. A file that cannot be read is, too, while others
can.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.paths import IMAGE_NAME
from nadir.data.quarantine import Reason
from nadir.data.sources.columns import (
    listing_table,
    matching,
    problem_table,
)
from nadir.data.sources.interfaces import FILES
from nadir.data.sources.layouts.documents import TableError
from nadir.data.sources.layouts.layout import Layout, Listed
from nadir.data.sources.layouts.metadata_rows import read_rows
from nadir.data.sources.layouts.row_matching import find_images
from nadir.data.sources.layouts.sidecars import NO_IMAGE, TAG_NAME, tag_columns
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TypeAlias

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.layout import Look

    Column: TypeAlias = pa.ChunkedArray
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Matching:
    """Under which names rows may call their images, besides exact paths from the file's folder.

    Attributes:
        from_root: Exact paths from the source's root as well.
        vague: Paths without ending, ends of paths, and bare names.
        own_folder: Only images in or below the metadata file's folder; bare names may hold dots.
        keys: Columns whose value an image may be named after.
    """

    from_root: bool = False
    vague: bool = False
    own_folder: bool = False
    keys: tuple[str, ...] = ()


class MetadataLayout(Layout):
    """A layout whose images are described by rows of metadata files; each subclass is one."""

    name: str
    files: str
    """Paths of its metadata files, as a regular expression."""
    matching = Matching()
    rows_first = False
    """Whether an image's tags are its row's even where a text beside it has some."""
    passes_over_strays = False
    """Whether tables of other things may lie among its files."""

    def is_named(self, look: Look) -> bool:
        """Whether a metadata file has the layout's own name."""
        return look.has(self.files)

    def chosen(self, paths: list[str]) -> list[str]:
        """Which of the metadata files are read."""
        return paths

    def is_about_images(self, rows: pa.Table) -> bool:  # noqa: ARG002 - for subclasses
        """Whether a metadata file, given its rows, is one of images at all."""
        return True

    def list_images(self, store: Store, files: pa.Table, memory: Path | None) -> Listed:
        """Every image with its row, and every row without an image.

        Raises:
            TableError: No metadata file can be read.
            NadirError: There is none.
        """
        named = files.filter(matching(files, self.files)).column("path").to_pylist()
        if not named:
            raise NadirError(
                f"no metadata file of the layout {self.name} (a path like "
                f"{self.files.removeprefix('(?is)')})",
                where=store.location,
                fix="set ingest.format to auto, or to the layout it has",
            )
        return _list_rows(self, store, files, self.chosen(named), memory)


def _list_rows(
    layout: MetadataLayout, store: Store, files: pa.Table, described: list[str], memory: Path | None
) -> Listed:
    tables, broken = _tables(store, files, described, layout, memory)
    rows = pa.concat_tables(tables)
    position = find_images(rows, files, layout.matching)
    bad = valid(rows.column("reason"))
    cell = ~bad & rows.column("embedded").fill_null(False).to_numpy()
    found = ~bad & ~cell & (position >= 0)
    again = found & ~_first_of_each(position, found)
    chosen = position[found & ~again]
    own, cells = rows.filter(pa.array(found & ~again)), rows.filter(pa.array(cell))
    listed = [
        _with_tags(layout, files, files.take(pa.array(chosen)), own),
        _with_tags(layout, None, _cells(cells), cells),
        _without_rows(files, chosen),
        problem_table(_faults(rows.filter(pa.array(bad)))),
        problem_table(_missing(rows.filter(pa.array(~bad & ~cell & ~found)), layout.matching.keys)),
        problem_table(_repeated(rows.filter(pa.array(again)), files, position[again])),
        problem_table((error.where, str(error.reason), error.what) for error in broken),
    ]
    known = _mask_of(files, IMAGE_NAME) | _mask_of(files, TAG_NAME)
    others = int((~known).sum()) - sum(1 for path in described if not re.search(TAG_NAME, path))
    ignored = Counter({NO_IMAGE: others} if others > 0 else {})
    return Listed(pa.concat_tables(listed), ignored, broken)


def _tables(
    store: Store, files: pa.Table, described: list[str], layout: MetadataLayout, memory: Path | None
) -> tuple[list[pa.Table], list[TableError]]:
    """The rows of each file that can be read, and the errors of the others."""
    tables, errors = [], []
    for path in described:
        try:
            tables.append(_rows_of_file(store, files, path, layout, memory))
        except TableError as error:
            errors.append(error)
    if not tables:
        raise errors[0]
    return tables, [error for error in errors if not (error.stray and layout.passes_over_strays)]


def _rows_of_file(
    store: Store, files: pa.Table, path: str, layout: MetadataLayout, memory: Path | None
) -> pa.Table:
    """The rows of one file that are not blank, with their paths and the file's version."""
    try:
        table = read_rows(store, path, memory)
    except OSError as error:
        fix = "check the permissions of the file, and the disk"
        raise TableError(str(error.strerror), path, Reason.CANNOT_OPEN, fix=fix) from error
    numbers = pc.utf8_lpad(pa.array(range(1, table.num_rows + 1)).cast(pa.string()), 6, "0")
    version = files.column("version")[files.column("path").index(path).as_py()]
    for name, mark in (("row_path", "#"), ("cell_path", "::")):
        paths = pc.binary_join_element_wise(pa.scalar(path), numbers, mark)
        table = table.append_column(name, paths)
    table = table.append_column("file_version", pa.repeat(version, table.num_rows))
    if not layout.is_about_images(table):
        return table.slice(0, 0)
    return table.filter(pa.array(valid(table.column("version")) | valid(table.column("reason"))))


def _first_of_each(position: Integers, found: Mask) -> Mask:
    """The first of the found rows for each image."""
    rows = np.flatnonzero(found)
    first = np.zeros(len(found), dtype=np.bool_)
    first[rows[np.unique(position[rows], return_index=True)[1]]] = True
    return first


def _with_tags(
    layout: MetadataLayout, files: pa.Table | None, images: pa.Table, rows: pa.Table
) -> pa.Table:
    """Images with the row about each, and with what lies beside it."""
    beside = FILES.empty_table() if files is None else files.filter(matching(files, TAG_NAME))
    about = [rows.column(name) for name in ("row_path", "size", "version")]
    columns = {name: images.column(name) for name in FILES.names}
    columns |= tag_columns(
        images.column("path"),
        beside,
        pa.Table.from_arrays(about, schema=FILES),
        row_first=layout.rows_first,
    )
    return listing_table(images.num_rows, **columns)


def _cells(rows: pa.Table) -> pa.Table:
    sizes = pa.repeat(pa.scalar(-1, pa.int64()), rows.num_rows)
    columns = [rows.column("cell_path"), sizes, rows.column("file_version")]
    return pa.Table.from_arrays(columns, schema=FILES)


def _without_rows(files: pa.Table, chosen: Integers) -> pa.Table:
    """Images that no row is about; a file beside one may still hold its tags."""
    mask = _mask_of(files, IMAGE_NAME)
    mask[chosen] = False
    images = files.filter(pa.array(mask))
    columns = {name: images.column(name) for name in FILES.names}
    columns |= tag_columns(images.column("path"), files.filter(matching(files, TAG_NAME)))
    return listing_table(images.num_rows, **columns)


def _faults(rows: pa.Table) -> Iterator[tuple[str, str, str]]:
    for row in rows.select(["row_path", "reason", "detail"]).to_pylist():
        yield row["row_path"], row["reason"], row["detail"]


def _missing(rows: pa.Table, named_after: tuple[str, ...]) -> Iterator[tuple[str, str, str]]:
    for row in rows.select(["row_path", "written", "md5", "id"]).to_pylist():
        keys = [f"{key} {row[key]!r}" for key in named_after if row[key]]
        if row["written"] is not None:
            detail = f"the row names {row['written'][:200]!r}, which the source does not hold"
        elif keys:
            detail = f"the source holds no image named like {' or '.join(keys)}"
        else:
            yield row["row_path"], str(Reason.BAD_METADATA), "the row names no image"
            continue
        yield row["row_path"], str(Reason.MISSING_IMAGE), detail


def _repeated(
    rows: pa.Table, files: pa.Table, positions: Integers
) -> Iterator[tuple[str, str, str]]:
    paths = files.column("path").take(pa.array(positions)).to_pylist()
    for row, path in zip(rows.column("row_path").to_pylist(), paths, strict=True):
        detail = f"an earlier row is about {path[:200]!r}, too"
        yield row, str(Reason.BAD_METADATA), detail


def valid(column: Column) -> Mask:
    """Which rows of a column hold a value."""
    return np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)


def _mask_of(files: pa.Table, pattern: str) -> Mask:
    return np.array(matching(files, pattern).to_numpy(), dtype=np.bool_)
