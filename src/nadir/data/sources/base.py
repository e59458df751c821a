"""What every source of images can do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Protocol

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        table: One row per image file, of schema `nadir.data.tables.LISTING`.
        notes: What was passed over and why, one sentence each, for the log.
    """

    table: pa.Table
    notes: tuple[str, ...]


class Source(Protocol):
    """A place with images. Sources travel to worker processes, so they must pickle."""

    @property
    def format(self) -> str:
        """Name of the layout, as in `ingest.format`."""
        ...

    @property
    def location(self) -> str:
        """Where it is, absolute; tells caches of different sources apart."""
        ...

    def list_images(self) -> Listing:
        """List every image file with its tag file; reads no file's contents.

        Raises:
            NadirError: There is no image file.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a file of the listing, image or tags, for reading.

        Raises:
            OSError: It cannot be opened.
        """
        ...

    def version(self, path: str) -> tuple[int, int]:
        """Size in bytes and time of the last change in nanoseconds, as they are now.

        Raises:
            OSError: The file is gone.
        """
        ...
