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
from nadir.data.sources.columns import matching, problem_table
from nadir.data.sources.containers.cells import read_cell
from nadir.data.sources.containers.tars import find_member, read_member
from nadir.data.sources.interfaces import Content, Listing
from nadir.data.sources.layouts.detection import detect
from nadir.data.sources.layouts.metadata_rows import read_row
from nadir.data.sources.layouts.registry import BY_NAME
from nadir.data.sources.not_samples import set_masks_aside, without_folders
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.data.sources.interfaces import Fault, Store
    from nadir.data.sources.layouts.documents import TableError

_ANY_LENGTH = 1 << 62


@dataclass(frozen=True)
class StoredSource:
    """Images of a store.

    Args:
        store: Where the files lie.
        format: The layout; `auto` detects it when the images are listed.
        memory: Folder for what is known about tars and metadata files; None keeps it in this
            process only.
        mask_folder: Folder of masks, below the store's root.
    """

    store: Store
    format: str
    memory: Path | None = None
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
        automatic = self.format == "auto"
        layouts = detect(files, self.store) if automatic else [BY_NAME[self.format]]
        table, ignored, broken = layouts[0].list_images(self.store, files, self.memory)
        table, pairs = set_masks_aside(table, masks, self.mask_folder, aside)
        ignored += Counter(passed_over) + aside
        problems = problem_table([*_odd_names(odd, ignored), *faults])
        table = pa.concat_tables([table, problems]).sort_by("path").combine_chunks()
        notes = tuple(_notes(ignored, [layout.name for layout in layouts]))
        if not table.num_rows:
            raise _empty(self.location, layouts[0].name, notes)
        warnings = tuple(_left_out(error) for error in broken)
        return Listing(table, layouts[0].name, notes, warnings, pairs)

    def open(self, path: str) -> BinaryIO:
        """Open a path of the listing for reading.

        Raises:
            OSError: It cannot be opened.
        """
        place = place_of(path)
        if place == (path, None, None, None):
            return self.store.open(path)
        return io.BytesIO(self.read(path, _ANY_LENGTH).data)

    def read(self, path: str, limit: int) -> Content:
        """The first `limit` bytes of a path of the listing.

        Raises:
            OSError: It cannot be read.
        """
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


def _notes(ignored: Counter[str], layouts: list[str]) -> list[str]:
    notes = []
    if counted := sorted((+ignored).items()):
        counts = ", ".join(f"{count:,} {why}" for why, count in counted)
        notes.append(f"not listed: {counts}")
    if len(layouts) > 1:
        others = ", ".join(layouts[1:])
        notes.append(f"read as {layouts[0]}; it could be {others}, too: ingest.format chooses")
    return notes


def _empty(location: str, layout: str, notes: tuple[str, ...]) -> NadirError:
    return NadirError(
        f"no image files in {location}, read as {layout}" + "".join(f"; {note}" for note in notes),
        where="params.yaml ingest.source",
        fix="set it to a folder with images (.png, .jpg, .webp ...), tars, parquet files or an "
        "s3:// prefix of them",
    )
