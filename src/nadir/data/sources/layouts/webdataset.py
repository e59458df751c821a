"""Layout `webdataset`: tars whose members with one name are an image and its tags."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.quarantine import Reason
from nadir.data.sources.columns import problem_table
from nadir.data.sources.containers.tars import members
from nadir.data.sources.interfaces import FILES
from nadir.data.sources.layouts.layout import Layout, Listed
from nadir.data.sources.layouts.sidecars import NO_IMAGE, list_sidecars

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.layout import Look

_TAR = r"(?is)\.tar$"
# Compressed as a whole.
_PACKED_TAR = r"(?is)\.(?:tar\.(?:gz|bz2|xz|zst)|tgz|tbz2|txz)$"


class WebDataset(Layout):
    """Tars; the members beside each other are treated like files of a folder.

    Names alone say nothing: tars beside loose images are more often backups than the dataset.
    """

    name = "webdataset"

    def is_left(self, look: Look, *, found: bool) -> bool:  # noqa: ARG002 - whatever else there is
        """Where there are tars."""
        return look.has(_TAR) or look.has(_PACKED_TAR)

    def list_images(self, store: Store, files: pa.Table, memory: Path | None) -> Listed:
        """Every image in the tars, with its tags in the same tar."""
        return Listed(*list_tars(store, files, memory), [])


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
        if re.search(_PACKED_TAR, path):
            detail = "the tar is compressed, so its members cannot be read one by one"
            problems.append((path, str(Reason.BAD_ARCHIVE), detail))
        elif re.search(_TAR, path):
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
    listed, others = list_sidecars(pa.concat_tables([FILES.empty_table(), *inside]))
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
