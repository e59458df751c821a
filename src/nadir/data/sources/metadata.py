"""Layouts with metadata files: a row for each image says what it shows.

- `imagefolder`: `metadata.jsonl`, `.csv` or `.parquet`; the image is `file_name`, from the file's
  folder.
- `kohya`: of each folder `meta_lat.json`, else `meta_cap_dd.json`, `meta_clean.json`,
  `meta_cap.json`, else another `meta_*.json`; the image is the entry's key: a path with or without
  its ending, or a bare name.
- `booru`: `*.jsonl`, `*.ndjson`, `posts*.json`, `*.csv`, `*.parquet`; the image is a path in the
  row, else the file named like `md5` or `id`. Files without posts are passed over.
- `parquet`: `*.parquet`; the image is in the row, else a path in it, from the file's folder or the
  root.

Images without a row may have a tag file beside them. A row without its image is listed with a
problem, and so is a second row for the same image. A file that cannot be read is, too, while others
can.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.quarantine import Reason
from nadir.data.sources.base import FILES
from nadir.data.sources.columns import (
    TAGS,
    listing_table,
    matching,
    problem_table,
)
from nadir.data.sources.documents import TableError
from nadir.data.sources.paths import IMAGE_NAME
from nadir.data.sources.row_matching import find_images
from nadir.data.sources.rows import read_rows
from nadir.data.sources.sidecars import NO_IMAGE, TAG_NAME, tag_columns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TypeAlias

    from nadir.data.sources.base import Store

    Column: TypeAlias = pa.ChunkedArray
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

METADATA_NAMES = {
    "imagefolder": r"(?is)(?:^|/)metadata\.(?:jsonl|csv|parquet)$",
    "kohya": r"(?is)(?:^|/)meta_[^/]*\.json$",
    "booru": r"(?is)(?:\.(?:jsonl|ndjson|csv|parquet)|(?:^|/)posts[^/]*\.json)$",
    "parquet": r"(?is)\.parquet$",
}
"""Paths of each layout's metadata files, as regular expressions."""
_KOHYA_ORDER = ("meta_lat.json", "meta_cap_dd.json", "meta_clean.json", "meta_cap.json")


def metadata_files(files: pa.Table, layout: str) -> list[str]:
    """The paths of a layout's metadata files, sorted."""
    named = files.filter(matching(files, METADATA_NAMES[layout]))
    found: list[str] = named.column("path").to_pylist()
    if layout != "kohya":
        return found
    # Each step of kohya's scripts writes a file with all the earlier one holds.
    best: dict[str, str] = {}
    for path in sorted(found, key=_kohya_rank):
        best.setdefault(posixpath.dirname(path), path)
    return sorted(best.values())


def _kohya_rank(path: str) -> tuple[int, str]:
    name = posixpath.basename(path)
    return (_KOHYA_ORDER.index(name) if name in _KOHYA_ORDER else len(_KOHYA_ORDER), path)


def list_rows(
    store: Store, files: pa.Table, layout: str, memory: Path | None
) -> tuple[pa.Table, Counter[str], list[TableError]]:
    """Every image of the source with its row, and every row without an image.

    Args:
        store: Where everything lies.
        files: Of schema `FILES`.
        layout: One of `METADATA_NAMES`.
        memory: Folder for what is known about metadata files.

    Returns:
        A table of schema `LISTING`, how many files were passed over, by reason, and what is wrong
        with the metadata files that cannot be read, though others can.

    Raises:
        TableError: No metadata file can be read.
    """
    described = metadata_files(files, layout)
    tables, broken = _tables(store, files, described, layout, memory)
    rows = pa.concat_tables(tables)
    position = find_images(rows, files, layout)
    bad = _mask(rows.column("reason"))
    cell = ~bad & rows.column("embedded").fill_null(False).to_numpy()
    found = ~bad & ~cell & (position >= 0)
    again = found & ~_first_of_each(position, found)
    chosen = position[found & ~again]
    listed = [
        _with_tags(files.take(pa.array(chosen)), rows.filter(pa.array(found & ~again))),
        _with_tags(_cells(rows.filter(pa.array(cell))), rows.filter(pa.array(cell))),
        _without_rows(files, chosen),
        problem_table(_faults(rows.filter(pa.array(bad)))),
        problem_table(_missing(rows.filter(pa.array(~bad & ~cell & ~found)), layout)),
        problem_table(_repeated(rows.filter(pa.array(again)), files, position[again])),
        problem_table((error.where, str(error.reason), error.what) for error in broken),
    ]
    known = _mask_of(files, IMAGE_NAME) | _mask_of(files, TAG_NAME)
    others = int((~known).sum()) - sum(1 for path in described if not re.search(TAG_NAME, path))
    return pa.concat_tables(listed), Counter({NO_IMAGE: others} if others > 0 else {}), broken


def _tables(
    store: Store, files: pa.Table, described: list[str], layout: str, memory: Path | None
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
    # A dump's folder holds tables of other things, too.
    return tables, [error for error in errors if not (error.stray and layout == "booru")]


def _rows_of_file(
    store: Store, files: pa.Table, path: str, layout: str, memory: Path | None
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
    if layout == "booru" and not _has_posts(table):
        return table.slice(0, 0)
    return table.filter(pa.array(_mask(table.column("version")) | _mask(table.column("reason"))))


def _has_posts(rows: pa.Table) -> bool:
    """Whether any row is about an image: dumps hold pools, comments and tags as well.

    Where no row can be understood, nothing says that none is.
    """
    named = (_mask(rows.column(name)) for name in ("image", "md5", "id"))
    embedded = rows.column("embedded").fill_null(False).to_numpy()
    unsafe = pc.equal(rows.column("reason"), str(Reason.UNSAFE_PATH)).fill_null(False).to_numpy()
    if np.logical_or.reduce([embedded, unsafe, *named]).any():
        return True
    return bool(_mask(rows.column("reason")).any() and not _mask(rows.column("version")).any())


def _first_of_each(position: Integers, found: Mask) -> Mask:
    """The first of the found rows for each image."""
    rows = np.flatnonzero(found)
    first = np.zeros(len(found), dtype=np.bool_)
    first[rows[np.unique(position[rows], return_index=True)[1]]] = True
    return first


def _with_tags(images: pa.Table, rows: pa.Table) -> pa.Table:
    tags = (rows.column(name) for name in ("row_path", "size", "version"))
    columns = {name: images.column(name) for name in FILES.names}
    return listing_table(images.num_rows, **columns, **dict(zip(TAGS, tags, strict=True)))


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


def _missing(rows: pa.Table, layout: str) -> Iterator[tuple[str, str, str]]:
    for row in rows.select(["row_path", "written", "md5", "id"]).to_pylist():
        keys = [f"{key} {row[key]!r}" for key in ("md5", "id") if row[key]]
        if row["written"] is not None:
            detail = f"the row names {row['written'][:200]!r}, which the source does not hold"
        elif layout == "booru" and keys:
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


def _mask(column: Column) -> Mask:
    return np.asarray(column.is_valid().to_numpy(), dtype=np.bool_)


def _mask_of(files: pa.Table, pattern: str) -> Mask:
    return np.array(matching(files, pattern).to_numpy(), dtype=np.bool_)
