"""The rows of all metadata files of a source as one table."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.large_tables import valid
from nadir.data.quarantine import Reason
from nadir.data.sources.rows.documents import TableError
from nadir.data.sources.rows.metadata_rows import read_rows
from nadir.data.sources.rows.row_names import place_columns

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.detection import Plan
    from nadir.data.sources.layouts.metadata_layout import MetadataLayout

_PLACES = ("written", "image", "from_root", "tail", "reason", "detail")


class MetadataFile(NamedTuple):
    """A metadata file and the layout that reads it."""

    path: str
    layout: MetadataLayout

    @property
    def folder(self) -> str:
        """Its folder with a slash behind it; "" is the root."""
        folder = posixpath.dirname(self.path)
        return f"{folder}/" if folder else ""


class AllRows(NamedTuple):
    """The rows of some metadata files.

    Attributes:
        table: With the columns of `ROWS` less `row`, and `file`, `row_path`, `cell_path`,
            `file_version`; each row stands once for each image that it names.
        files: The files, which the column `file` counts.
        broken: What is wrong with files that cannot be read.
        empty: (path, why) of files without a row about an image.
    """

    table: pa.Table
    files: list[MetadataFile]
    broken: list[TableError]
    empty: list[tuple[str, str]]


def read_all(plan: Plan, store: Store, files: pa.Table, memory: Path | None) -> AllRows:
    """The rows of a plan's metadata files.

    Raises:
        TableError: There are files, but none can be read.
    """
    tables, broken, empty = [], [], []
    described = [MetadataFile(path, layout) for layout, paths in plan.parts for path in paths]
    for number, one in enumerate(described):
        try:
            table = _rows_of_file(store, files, one, memory)
        except TableError as error:
            if error.stray and one.layout.passes_over_strays:
                empty.append((one.path, error.what.partition(": ")[2]))
            else:
                broken.append(error)
            continue
        if not table.num_rows:
            empty.append((one.path, "no row in it is about an image"))
        counted = pa.array(np.full(table.num_rows, number, dtype=np.int32))
        tables.append(table.append_column("file", counted))
    if not tables:
        raise broken[0] if broken else TableError(empty[0][1], empty[0][0])
    return AllRows(pa.concat_tables(tables), described, broken, empty)


def _rows_of_file(
    store: Store, files: pa.Table, one: MetadataFile, memory: Path | None
) -> pa.Table:
    """The rows of one file that are not blank, with their paths and the file's version."""
    path = one.path
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
    if not one.layout.is_about_images(table):
        return table.slice(0, 0).drop_columns("others")
    used = table.filter(pa.array(valid(table.column("version")) | valid(table.column("reason"))))
    return _once_for_each_image(used, one.folder, store.location)


def _once_for_each_image(table: pa.Table, folder: str, root: str) -> pa.Table:
    """The rows, those that name several images once for each."""
    others, table = table.column("others"), table.drop_columns("others")
    counts = pc.fill_null(pc.list_value_length(others), 0)
    if not pc.any(pc.greater(counts, 0)).as_py():
        return table
    again = np.repeat(np.arange(table.num_rows), counts.to_numpy())
    written = pc.list_flatten(others).to_pylist()
    places = [place_columns(name, folder.rstrip("/"), root) for name in written]
    more = table.take(pa.array(again))
    for name in _PLACES:
        at = more.schema.get_field_index(name)
        column = pa.array([place.get(name) for place in places], pa.string())
        more = more.set_column(at, more.schema.field(at), column)
    return pa.concat_tables([table, more])
