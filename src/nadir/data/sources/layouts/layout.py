"""What a layout is: how it is recognised, and how its images are listed."""

from __future__ import annotations

import abc
import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import pyarrow.compute as pc

from nadir.data.sources.columns import images_of, matching
from nadir.data.sources.containers.cells import image_cells
from nadir.data.sources.containers.parquet_files import open_table, parsing
from nadir.data.sources.layouts.documents import read_documents
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    import pyarrow as pa

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.documents import TableError

_SNIFFED = 8


class Listed(NamedTuple):
    """What a layout found.

    Attributes:
        table: One row per image, of schema `LISTING`.
        ignored: How many files were passed over, by reason.
        broken: What is wrong with metadata files that cannot be read, though others can.
    """

    table: pa.Table
    ignored: Counter[str]
    broken: list[TableError]


class Layout(abc.ABC):
    """A way in which datasets lie on disk; a subclass says how it is recognised and listed.

    Each way of recognising it is false unless the subclass knows better.

    Attributes:
        name: As `ingest.format` calls it.
    """

    name: str

    def is_named(self, look: Look) -> bool:  # noqa: ARG002 - for subclasses
        """Whether names alone, or lines that are cheap to read, speak for it."""
        return False

    def is_inside(self, look: Look) -> bool:  # noqa: ARG002 - for subclasses
        """Whether tables say so that nothing in their names does; asked if no name has spoken."""
        return False

    def is_left(self, look: Look, *, found: bool) -> bool:  # noqa: ARG002 - for subclasses
        """Whether it reads what lies there besides; `found` says that metadata were recognised."""
        return False

    @abc.abstractmethod
    def list_images(self, store: Store, files: pa.Table, memory: Path | None) -> Listed:
        """Every image with where its tags are.

        Args:
            store: Where the files lie.
            files: Of schema `FILES`.
            memory: Folder for what is known about large files; None keeps it in this process.

        Raises:
            NadirError: The layout's metadata are missing, or none of them can be read.
        """


class Inside(NamedTuple):
    """What the beginning of a table shows.

    Attributes:
        keys: Its columns, in lower case.
        embedded: Whether it holds images.
    """

    keys: frozenset[str]
    embedded: bool


@dataclass(frozen=True)
class Look:
    """The files of a source as layouts look at them; a few are opened, and each only once.

    Args:
        files: Of schema `FILES`.
        store: Where they lie.
    """

    files: pa.Table
    store: Store
    _seen: dict[str, Inside | None] = field(default_factory=dict)

    def has(self, pattern: str) -> bool:
        """Whether a path matches a regular expression."""
        return bool(pc.any(matching(self.files, pattern)).as_py())

    def has_images(self) -> bool:
        """Whether there are loose image files."""
        return bool(images_of(self.files).num_rows)

    def tables(self, pattern: str) -> list[Inside]:
        """The beginnings of the first tables whose path matches; unreadable ones are left out."""
        named = self.files.filter(matching(self.files, pattern)).column("path").to_pylist()
        for path in named[:_SNIFFED]:
            if path not in self._seen:
                self._seen[path] = _inside(self.store, path)
        seen = (self._seen[path] for path in named[:_SNIFFED])
        return [inside for inside in seen if inside is not None]


def _inside(store: Store, path: str) -> Inside | None:
    try:
        with store.open(path) as file:
            if path.lower().endswith(".parquet"):
                table = open_table(file)
                with parsing():
                    keys = set(table.schema_arrow.names)
                    embedded = image_cells(table.schema_arrow) is not None
            else:
                first = next(itertools.islice(read_documents(file, path), 1), (None, None))
                keys, embedded = set(first[0] or ()), False
    except (OSError, NadirError):
        return None
    return Inside(frozenset(str(key).lower() for key in keys), embedded)
