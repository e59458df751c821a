"""Layout `webdataset`: tars whose members with one name are an image and its tags."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.quarantine import Reason
from nadir.data.sources.columns import problem_table
from nadir.data.sources.containers.tars import members
from nadir.data.sources.interfaces import FILES
from nadir.data.sources.layouts.detection import PACKED_TAR, TAR, passed_over
from nadir.data.sources.layouts.layout import Layout, Listed, not_read
from nadir.data.sources.layouts.sidecars import NO_IMAGE, list_sidecars

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Fault, Store


class Members(NamedTuple):
    """What some tars hold.

    Attributes:
        table: The sound members as files with paths `x.tar::name`, of schema `FILES`.
        problems: (path, reason, detail) of what cannot be used.
        ignored: How many members and other files were passed over, by reason.
    """

    table: pa.Table
    problems: list[Fault]
    ignored: Counter[str]


class WebDataset(Layout):
    """Tars; the members beside each other are treated like files of a folder."""

    name = "webdataset"

    def list_images(self, store: Store, files: pa.Table, memory: Path | None) -> Listed:
        """Every image in the tars, with its tags in the same tar."""
        found = members_of(store, files, memory)
        table, others = list_sidecars(found.table)
        table = pa.concat_tables([table, problem_table(found.problems)])
        notes = not_read(passed_over(files, self.name))
        return Listed(table, found.ignored + others, [], notes=notes)


def members_of(store: Store, files: pa.Table, memory: Path | None) -> Members:
    """What the tars of `files` hold.

    Args:
        store: Where the tars lie.
        files: Of schema `FILES`.
        memory: Folder for what is known about tars.
    """
    problems: list[Fault] = []
    ignored, inside = Counter[str](), list[pa.Table]()
    for path, _, version in zip(*(column.to_pylist() for column in files.columns), strict=True):
        if re.search(PACKED_TAR, path):
            detail = "the tar is compressed, so its members cannot be read one by one"
            problems.append((path, str(Reason.BAD_ARCHIVE), detail))
        elif re.search(TAR, path):
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
    return Members(pa.concat_tables([FILES.empty_table(), *inside]), problems, ignored)


def _files(path: str, version: str, table: pa.Table) -> pa.Table:
    """The sound members as files with paths `x.tar::name`."""
    sound = table.filter(pc.is_null(table.column("detail")))
    names = pc.binary_join_element_wise(pa.scalar(f"{path}::"), sound.column("name"), "")
    offsets = sound.column("offset").cast(pa.string())
    versions = pc.binary_join_element_wise(pa.scalar(f"{version}@"), offsets, "")
    return pa.Table.from_arrays([names, sound.column("size"), versions], schema=FILES)


def _problems(path: str, table: pa.Table) -> list[Fault]:
    bad = table.filter(pc.is_valid(table.column("reason"))).to_pylist()
    return [
        (f"{path}::{row['name']}" if row["name"] else path, row["reason"], row["detail"])
        for row in bad
    ]


def _passed_over(table: pa.Table) -> Counter[str]:
    mask = pc.and_(pc.is_null(table.column("reason")), pc.is_valid(table.column("detail")))
    return Counter(f"members: {text}" for text in table.filter(mask).column("detail").to_pylist())
