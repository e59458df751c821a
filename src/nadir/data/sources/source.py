"""The source: a store read by a layout."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.paths import CONTAINER_NAME, holds_images, place_of
from nadir.data.quarantine import Reason
from nadir.data.sources.columns import by_path, matching, problem_table
from nadir.data.sources.containers.cells import read_cell
from nadir.data.sources.containers.tars import find_member, read_member
from nadir.data.sources.folder_repeats import folder_words, with_folder_repeats
from nadir.data.sources.interfaces import Content, Listing
from nadir.data.sources.layouts.registry import AUTO, BY_NAME
from nadir.data.sources.not_samples import set_masks_aside, without_folders
from nadir.data.sources.rows.metadata_rows import read_row
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Fault, Store
    from nadir.data.sources.rows.documents import TableError

_ANY_LENGTH = 1 << 62


@dataclass(frozen=True)
class StoredSource:
    """Images of a store.

    Args:
        store: Where the files lie.
        format: The layout; `auto` detects it when the images are listed.
        memory: Folder for what is known about tars and metadata files; None keeps it in this
            process only.
        folder_repeats: Whether folders `10_name` say how often their images are shown.
        notes: What the log should say of the place itself, one sentence each.
        mask_folder: Folder of masks, below the store's root.
    """

    store: Store
    format: str
    memory: Path | None = None
    folder_repeats: bool = True
    notes: tuple[str, ...] = ()
    mask_folder: str | None = None

    @property
    def location(self) -> str:
        """The store's."""
        return self.store.location

    @property
    def remote(self) -> bool:
        """The store's."""
        return self.store.remote

    def list_images(self) -> Listing:
        """List every image with where its tags are.

        Raises:
            NadirError: There is no image, or something cannot be read.
        """
        files, passed_over, faults = self.store.list_files()
        files, odd = _without_odd_names(files)
        aside: Counter[str] = Counter()
        files, masks = without_folders(files, self.mask_folder, aside)
        layout = AUTO if self.format == "auto" else BY_NAME[self.format]
        listed = layout.list_images(self.store, files, self.memory)
        name = listed.layout or layout.name
        table, pairs = set_masks_aside(listed.table, masks, self.mask_folder, aside)
        ignored = listed.ignored + Counter(passed_over) + aside
        problems = problem_table([*_odd_names(odd, ignored), *faults])
        table = by_path(pa.concat_tables([table, problems]))
        notes = (*self.notes, *_notes(ignored), *listed.notes)
        if self.folder_repeats:
            table, found = with_folder_repeats(table)
            notes += found
        if not table.num_rows:
            raise _empty(self.location, name, notes)
        warnings = tuple(_left_out(error) for error in listed.broken)
        return Listing(table, name, notes, warnings, pairs)

    def open(self, path: str) -> BinaryIO:
        """Open a path of the listing for reading.

        Raises:
            OSError: It cannot be opened.
        """
        place = place_of(path)
        if path.endswith("/"):
            return io.BytesIO(self.read(path, _ANY_LENGTH).data)
        if place == (path, None, None, None):
            return self.store.open(path)
        return io.BytesIO(self.read(path, _ANY_LENGTH).data)

    def read(self, path: str, limit: int) -> Content:
        """The first `limit` bytes of a path of the listing.

        Raises:
            OSError: It cannot be read.
        """
        if path.endswith("/"):
            return folder_words(path)
        place = place_of(path)
        if place.member is not None:
            return read_member(self.store, place.file, place.member, limit, self.memory)
        if place.cell is not None:
            return read_cell(self.store, place.file, place.cell, limit)
        if place.row is not None:
            return read_row(self.store, place.file, place.row, self.memory)
        return self.store.read(path, limit)

    def version(self, path: str) -> tuple[int, str]:
        """Size and version of a path of the listing as they are now.

        Raises:
            OSError: It is gone.
        """
        if path.endswith("/"):
            content = folder_words(path)
            return len(content.data), content.version
        place = place_of(path)
        if place.member is not None:
            span = find_member(self.store, place.file, place.member, self.memory)
            return span.size, span.version
        if place.cell is not None:
            return -1, self.store.stat(place.file)[1]
        if place.row is not None:
            content = read_row(self.store, place.file, place.row, self.memory)
            return len(content.data), content.version
        return self.store.stat(path)


def _without_odd_names(files: pa.Table) -> tuple[pa.Table, list[str]]:
    # A plain text is found in half the time of an expression that has it in it.
    if not pc.any(pc.match_substring(files["path"], "::")).as_py():
        return files, []
    odd = matching(files, CONTAINER_NAME)
    return files.filter(pc.invert(odd)), files.filter(odd).column("path").to_pylist()


def _odd_names(paths: list[str], ignored: Counter[str]) -> list[Fault]:
    """Faults of images whose names mean something else; other files are counted."""
    detail = "`.tar::` and `.parquet::` in a name stand for what lies inside such a file"
    images = [path for path in paths if holds_images(path)]
    ignored["named like what lies in a tar or table"] += len(paths) - len(images)
    return [(path, str(Reason.BAD_NAME), detail) for path in images]


def _left_out(error: TableError) -> str:
    return f"the rows of {error.where} are left out: {error.what}; {error.fix}"


def _notes(ignored: Counter[str]) -> list[str]:
    notes = []
    if counted := sorted((+ignored).items()):
        counts = ", ".join(f"{count:,} {why}" for why, count in counted)
        notes.append(f"not listed: {counts}")
    return notes


def _empty(location: str, layout: str, notes: tuple[str, ...]) -> NadirError:
    return NadirError(
        f"no image files in {location}, read as {layout}" + "".join(f"; {note}" for note in notes),
        where="params.yaml ingest.source",
        fix="set it to a folder with images (.png, .jpg, .webp ...), tars, parquet files or an "
        "s3:// prefix of them",
    )
