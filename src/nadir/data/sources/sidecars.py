"""Layouts `folder` and `webdataset`: each image with its tags in a file beside it.

The tags of `x.jpg` are looked for in `x.jpg.txt`, `x.txt`, `x.jpg.json`, `x.json`, in this order.
In a tar the members beside each other are treated like files of a folder.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.quarantine import Reason
from nadir.data.sources.base import FILES
from nadir.data.sources.columns import (
    TAGS,
    images_of,
    listing_table,
    matching,
    problem_table,
    rows_of,
    stems,
)
from nadir.data.sources.tars import members

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.base import Store

TAG_NAME = r"(?is)\.(?:txt|json)$"
"""A path of a tag file, as a regular expression."""
TAR_NAME = r"(?is)\.tar$"
"""A path of a tar."""
PACKED_TAR_NAME = r"(?is)\.(?:tar\.(?:gz|bz2|xz|zst)|tgz|tbz2|txz)$"
"""A path of a tar that is compressed as a whole."""
_ENDINGS = (".txt", ".json")
NO_IMAGE = "not named like an image"
"""What is said of other files."""


def list_folder(files: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """Every image of `files` with its tag file.

    Args:
        files: Of schema `FILES`.

    Returns:
        A table of schema `LISTING`, and how many files were passed over, by reason.
    """
    images = images_of(files)
    tags = files.filter(matching(files, TAG_NAME))
    others = files.num_rows - images.num_rows - tags.num_rows
    ignored = Counter({NO_IMAGE: others} if others else {})
    columns = {name: images.column(name) for name in FILES.names}
    columns |= tag_columns(images.column("path"), tags)
    return listing_table(images.num_rows, **columns), ignored


def tag_columns(paths: pa.ChunkedArray, files: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The tag file of each image as columns `TAGS` of a listing; null without one.

    Args:
        paths: Of the images.
        files: Tag files among others, of schema `FILES`.
    """
    known, stem = files.column("path"), stems(paths)
    for ending in _ENDINGS:
        known = pc.replace_substring_regex(known, rf"(?is)\{ending}$", ending)
    found = pa.nulls(len(paths), pa.int32())
    for ending in _ENDINGS:
        for base in (paths, stem):
            candidates = pc.binary_join_element_wise(base, ending, "")
            found = pc.coalesce(found, rows_of(candidates, known))
    chosen = files.take(found)
    return dict(zip(TAGS, chosen.columns, strict=True))


def list_tars(store: Store, files: pa.Table, memory: Path | None) -> tuple[pa.Table, Counter[str]]:
    """Every image in the tars of `files`, with its tags in the same tar.

    Args:
        store: Where the tars lie.
        files: Of schema `FILES`.
        memory: Folder for what is known about tars.
    """
    tables, problems, ignored = [], [], Counter[str]()
    inside: list[pa.Table] = []
    for path, _, version in zip(*(column.to_pylist() for column in files.columns), strict=True):
        if re.search(PACKED_TAR_NAME, path):
            detail = "the tar is compressed, so its members cannot be read one by one"
            problems.append((path, str(Reason.BAD_ARCHIVE), detail))
        elif re.search(TAR_NAME, path):
            try:
                table = members(store, path, memory)
            except OSError as error:
                reason = Reason.CANNOT_OPEN
                problems.append((path, str(reason), f"the tar: {error.strerror}"))
                continue
            problems += _problems(path, table)
            ignored.update(_passed_over(table))
            inside.append(_files(path, version, table))
        else:
            ignored[NO_IMAGE] += 1
    listed, others = list_folder(pa.concat_tables([FILES.empty_table(), *inside]))
    tables = [listed, problem_table(problems)]
    return pa.concat_tables(tables), ignored + others


def _files(path: str, version: str, table: pa.Table) -> pa.Table:
    """The sound members as files with paths `x.tar::name`."""
    sound = table.filter(pc.is_null(table.column("detail")))
    names = pc.binary_join_element_wise(pa.scalar(f"{path}::"), sound.column("name"), "")
    offsets = sound.column("offset").cast(pa.string())
    versions = pc.binary_join_element_wise(pa.scalar(f"{version}@"), offsets, "")
    return pa.Table.from_arrays([names, sound.column("size"), versions], schema=FILES)


def _problems(path: str, table: pa.Table) -> list[tuple[str, str, str]]:
    bad = table.filter(pc.is_valid(table.column("reason"))).to_pylist()
    return [
        (f"{path}::{row['name']}" if row["name"] else path, row["reason"], row["detail"])
        for row in bad
    ]


def _passed_over(table: pa.Table) -> Counter[str]:
    mask = pc.and_(pc.is_null(table.column("reason")), pc.is_valid(table.column("detail")))
    return Counter(f"members: {text}" for text in table.filter(mask).column("detail").to_pylist())
