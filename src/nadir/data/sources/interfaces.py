"""What every source of images can do, and what it is made of."""

from __future__ import annotations

import errno
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from nadir.data.tables import MASKS

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES: pa.Schema = pa.schema(
    [("path", pa.string()), ("size", pa.int64()), ("version", pa.string())]
)
"""Files of a store: path below its root, bytes, and a version that changes with the content."""


class Content(NamedTuple):
    """Bytes that were read, and the version of what they were read from."""

    data: bytes
    version: str


Fault = tuple[str, str, str]


class Files(NamedTuple):
    """What a store holds.

    Attributes:
        table: Of schema `FILES`, sorted by path.
        ignored: What was passed over, by reason.
        faults: (path, reason, detail) of what should have been listed and could not be.
    """

    table: pa.Table
    ignored: Mapping[str, int]
    faults: tuple[Fault, ...] = ()


class Store(Protocol):
    """A place with files: a folder or a bucket. Stores are hashable and pickle without secrets.

    Reading raises `FileChangedError` for a file that is no longer the version asked for, another
    `OSError` for a file that cannot be read, and `NadirError` when the whole place is out of reach.
    """

    @property
    def location(self) -> str:
        """Where it is, absolute; separates the caches of different stores, and holds no secret."""
        ...

    def __hash__(self) -> int: ...

    @property
    def remote(self) -> bool:
        """True when each read waits for a network, so that many at once are faster."""
        ...

    def list_files(self) -> Files:
        """Every visible file; costs one `stat` a file or one listing page for many."""
        ...

    def stat(self, path: str) -> tuple[int, str]:
        """Size (bytes) and version of a file as they are now."""
        ...

    def read(self, path: str, limit: int) -> Content:
        """The first `limit` bytes of a file."""
        ...

    def read_range(self, path: str, start: int, length: int) -> Content:
        """`length` bytes from byte `start` on; fewer where the file ends before."""
        ...

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        """A seekable stream of a file, of that version when one is given."""
        ...


class FileChangedError(FileNotFoundError):
    """The version of a file that was listed is gone."""


class DamagedError(OSError):
    """A file can be read, but what lies in it cannot be understood; `strerror` says why."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EBADMSG, why)


@dataclass(frozen=True)
class Listing:
    """What a source holds.

    Attributes:
        table: One row per image, of schema `nadir.data.tables.LISTING`; images that a source names
            but does not hold have a row with a problem.
        format: The layout it was read by, one of `ingest.format`.
        notes: What was passed over and why, one sentence each, for the log.
        warnings: The same, of what should not have been.
        masks: The mask files of images, of schema `nadir.data.tables.MASKS`.
    """

    table: pa.Table
    format: str
    notes: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    masks: pa.Table = field(default_factory=MASKS.empty_table)


class Source(Protocol):
    """A place with images. Sources travel to worker processes, so they must pickle."""

    @property
    def format(self) -> str:
        """Name of the layout, as in `ingest.format`."""
        ...

    @property
    def location(self) -> str:
        """Where it is, absolute; separates the caches of different sources."""
        ...

    @property
    def remote(self) -> bool:
        """True when each read waits for a network, so that many at once are faster."""
        ...

    def list_images(self) -> Listing:
        """List every image with where its tags are; reads no image.

        Raises:
            NadirError: There is no image, or the place or its metadata cannot be read.
        """
        ...

    def open(self, path: str) -> BinaryIO:
        """Open a path of the listing, image or tags, for reading.

        Raises:
            OSError: It cannot be opened.
        """
        ...

    def read(self, path: str, limit: int) -> Content:
        """The first `limit` bytes of a path of the listing, image or tags, and their version.

        Raises:
            OSError: It cannot be read.
        """
        ...

    def version(self, path: str) -> tuple[int, str]:
        """Size (bytes, -1 where only reading gives it) and version, as they are now.

        Raises:
            OSError: It is gone.
        """
        ...
