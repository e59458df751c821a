"""From a plan to a listing: rows joined to images, and what is left to files beside them.

Images without a row may have a tag file beside them. A row without its image is listed with a
problem, and so is a second row of one file for the same image. A file that cannot be read is, too,
while others can.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.large_tables import valid
from nadir.data.paths import IMAGE_NAME
from nadir.data.quarantine import Reason
from nadir.data.sources.columns import TAGS, listing_table, matching, problem_table
from nadir.data.sources.interfaces import FILES
from nadir.data.sources.layouts.layout import Listed, not_read
from nadir.data.sources.layouts.sidecars import NO_IMAGE, TAG_NAME, list_sidecars, tag_columns
from nadir.data.sources.layouts.webdataset import Members, members_of
from nadir.data.sources.rows.metadata_files import read_all
from nadir.data.sources.rows.row_matching import find_images

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.detection import Plan
    from nadir.data.sources.rows.metadata_files import AllRows

    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


def list_plan(plan: Plan, store: Store, files: pa.Table, memory: Path | None) -> Listed:
    """Every image of a source with where its tags are, and every row without an image.

    Args:
        plan: What is read.
        store: Where the files lie.
        files: Of schema `FILES`, sorted by path.
        memory: Folder for what is known about tars and metadata files.

    Raises:
        TableError: There are metadata files, but none can be read.
    """
    special = {*plan.tars, *(path for _, paths in plan.parts for path in paths)}
    tars, loose = Members(FILES.empty_table(), [], Counter()), files
    if special:
        loose = files.filter(pc.invert(_among(files, special)))
    if plan.tars:
        tars = members_of(store, files.filter(_among(files, set(plan.tars))), memory)
        loose = pa.concat_tables([loose, tars.table]).sort_by("path").combine_chunks()
    if plan.parts:
        rows = read_all(plan, store, files, memory)
        tables, unread, layouts = _joined(rows, loose)
        broken = rows.broken
        others = loose.num_rows - int((_mask(loose, IMAGE_NAME) | _mask(loose, TAG_NAME)).sum())
        ignored = Counter({NO_IMAGE: others} if others else {})
    else:
        table, ignored = list_sidecars(loose)
        tables, unread, broken, layouts = [table], [], [], []
    table = pa.concat_tables([*tables, problem_table(tars.problems)])
    notes = not_read([*plan.unread, *unread])
    return Listed(table, ignored + tars.ignored, broken, _layout(layouts, plan, loose), notes)


def _among(files: pa.Table, paths: set[str]) -> pa.Array:
    return pc.is_in(files.column("path"), value_set=pa.array(sorted(paths), pa.string()))


def _layout(names: list[str], plan: Plan, loose: pa.Table) -> str:
    """What to call the way in which the images are read; `names` are of layouts with rows."""
    if not names and plan.tars:
        only_tars = not bool(pc.any(_outside_tars(loose)).as_py())
        names = ["webdataset"] if only_tars else ["folder", "webdataset"]
    return names[0] if len(names) == 1 else "mixed" if names else "folder"


def _outside_tars(loose: pa.Table) -> pa.ChunkedArray:
    images = matching(loose, IMAGE_NAME)
    return pc.and_not(images, pc.match_substring(loose.column("path"), ".tar::", ignore_case=True))


def _joined(
    rows: AllRows, files: pa.Table
) -> tuple[list[pa.Table], list[tuple[str, str]], list[str]]:
    """Tables of a listing, (path, why) of metadata files that are not used after all, layouts."""
    table, images = rows.table, np.flatnonzero(_mask(files, IMAGE_NAME))
    beside = tag_columns(files.column("path").take(pa.array(images)), _tag_files(files))
    tagged = np.zeros(files.num_rows, dtype=np.bool_)
    tagged[images] = valid(beside[TAGS[0]])
    position = find_images(rows, files, tagged)
    embedded = table.column("embedded").fill_null(False).to_numpy()
    cell = embedded & ~valid(table.column("reason"))
    found = ~embedded & (position >= 0)
    idle = _idle(rows, found | cell, position, files, tagged)
    used = ~np.isin(table.column("file").to_numpy(), [number for number, _ in idle])
    bad = used & ~found & valid(table.column("reason"))
    again = found & ~_first_of_each(position, found)
    missing = used & ~found & ~cell & ~bad
    own = again & _of_the_same_file(table, position, found)
    chosen = position[found & ~again]
    unread = [(rows.files[number].path, why) for number, why in idle] + rows.empty
    unread += _second_rows(rows, again & ~own)
    first_rows, cells = found & ~again, table.filter(pa.array(cell))
    rows_first = np.array([file.layout.rows_first for file in rows.files])[table.column("file")]
    tables = [
        *(
            _with_tags(
                files.take(pa.array(position[first_rows & which])),
                table.filter(pa.array(first_rows & which)),
                _tag_files(files),
                row_first=row_first,
            )
            for row_first, which in ((False, ~rows_first), (True, rows_first))
        ),
        _with_tags(_cells(cells), cells, FILES.empty_table(), row_first=False),
        _without_rows(files, images, chosen, beside),
        problem_table(_faults(table.filter(pa.array(bad)))),
        problem_table(_missing(rows, missing)),
        problem_table(_repeated(table.filter(pa.array(own)), files, position[own])),
        problem_table((error.where, str(error.reason), error.what) for error in rows.broken),
    ]
    lost = {number for number, _ in idle}
    layouts = [file.layout.name for number, file in enumerate(rows.files) if number not in lost]
    return tables, unread, list(dict.fromkeys(layouts))


def _tag_files(files: pa.Table) -> pa.Table:
    return files.filter(matching(files, TAG_NAME))


def _idle(
    rows: AllRows, found: Mask, position: Integers, files: pa.Table, tagged: Mask
) -> list[tuple[int, str]]:
    """(number, why) of files none of whose rows finds an image, though every image has tags."""
    numbers = rows.table.column("file").to_numpy()
    useful = np.bincount(numbers[found], minlength=len(rows.files)) > 0
    counts = np.bincount(numbers, minlength=len(rows.files))
    faulty = pc.equal(rows.table.column("reason"), str(Reason.BAD_METADATA)).fill_null(False)
    useful |= np.bincount(numbers[faulty.to_numpy()], minlength=len(rows.files)) > 0
    idle = np.flatnonzero(~useful & (counts > 0))
    if not len(idle):
        return []
    described = tagged.copy()
    described[position[position >= 0]] = True
    bare = _mask(files, IMAGE_NAME) & ~described
    alone = not found.any() and not described.any()
    if alone or bare.any():
        return []
    return [(int(number), f"none of its {counts[number]:,} rows finds an image") for number in idle]


def _first_of_each(position: Integers, found: Mask) -> Mask:
    """The first of the found rows for each image."""
    rows = np.flatnonzero(found)
    first = np.zeros(len(found), dtype=np.bool_)
    first[rows[np.unique(position[rows], return_index=True)[1]]] = True
    return first


def _of_the_same_file(table: pa.Table, position: Integers, found: Mask) -> Mask:
    """Rows whose image's first row is of the same file."""
    rows = np.flatnonzero(found)
    numbers = table.column("file").to_numpy()
    _, first, inverse = np.unique(position[rows], return_index=True, return_inverse=True)
    same = np.zeros(len(found), dtype=np.bool_)
    same[rows] = numbers[rows] == numbers[rows[first[inverse]]]
    return same


def _second_rows(rows: AllRows, again: Mask) -> list[tuple[str, str]]:
    """(path, why) of files with rows about images that another file describes."""
    counts = Counter(rows.table.column("file").filter(pa.array(again)).to_pylist())
    return [
        (rows.files[number].path, f"{count:,} of its rows, whose images another file describes")
        for number, count in sorted(counts.items())
    ]


def _with_tags(images: pa.Table, rows: pa.Table, beside: pa.Table, *, row_first: bool) -> pa.Table:
    """Images with the row about each, and with what lies beside it."""
    about = [rows.column(name) for name in ("row_path", "size", "version")]
    columns = {name: images.column(name) for name in FILES.names}
    columns |= tag_columns(
        images.column("path"),
        beside,
        pa.Table.from_arrays(about, schema=FILES),
        row_first=row_first,
    )
    return listing_table(images.num_rows, **columns)


def _cells(rows: pa.Table) -> pa.Table:
    sizes = pa.repeat(pa.scalar(-1, pa.int64()), rows.num_rows)
    columns = [rows.column("cell_path"), sizes, rows.column("file_version")]
    return pa.Table.from_arrays(columns, schema=FILES)


def _without_rows(
    files: pa.Table, images: Integers, chosen: Integers, beside: dict[str, pa.ChunkedArray]
) -> pa.Table:
    """Images that no row is about; a file beside one may still hold its tags."""
    left = pa.array(~np.isin(images, chosen))
    table = files.take(pa.array(images)).filter(left)
    columns = {name: table.column(name) for name in FILES.names}
    columns |= {name: column.filter(left) for name, column in beside.items()}
    return listing_table(table.num_rows, **columns)


def _faults(rows: pa.Table) -> Iterator[tuple[str, str, str]]:
    for row in rows.select(["row_path", "reason", "detail"]).to_pylist():
        yield row["row_path"], row["reason"], row["detail"]


def _missing(rows: AllRows, missing: Mask) -> Iterator[tuple[str, str, str]]:
    table = rows.table.select(["row_path", "written", "md5", "id", "file"])
    for row in table.filter(pa.array(missing)).to_pylist():
        named_after = rows.files[row["file"]].layout.matching.keys
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


def _mask(files: pa.Table, pattern: str) -> Mask:
    return np.array(matching(files, pattern).to_numpy(), dtype=np.bool_)
