"""What layouts with metadata files share: a row for each image says what it shows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias

    import numpy as np
    import pyarrow as pa

    from nadir.data.sources.rows.looking import Inside

    Column: TypeAlias = pa.ChunkedArray
    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Matching:
    """Under which names rows may call their images, besides exact paths from the file's folder.

    Attributes:
        from_root: Exact paths from the source's root as well.
        vague: Paths without ending, ends of paths, and bare names; without it they count only for
            rows that were written elsewhere.
        own_folder: Only images in or below the metadata file's folder.
        keys: Columns whose value an image may be named after.
    """

    from_root: bool = False
    vague: bool = False
    own_folder: bool = False
    keys: tuple[str, ...] = ()


class MetadataLayout:
    """A layout whose images are described by rows of metadata files; each subclass is one.

    Attributes:
        name: As `ingest.format` calls it.
        named: Paths whose names alone speak for it, as a regular expression.
        files: Paths of all files that it reads.
    """

    name: str
    named: str
    files: str
    matching = Matching()
    rows_first = False
    """Whether an image's tags are its row's even where a text beside it has some."""
    passes_over_strays = False
    """Whether tables of other things may lie among its files."""

    def reads(self, path: str) -> bool:
        """Whether a file may be one of its metadata files by its name."""
        return re.search(self.files, path) is not None

    def fits(self, inside: Inside) -> bool:
        """Whether what is in a file with its name is what it reads."""
        raise NotImplementedError

    def is_inside(self, path: str, inside: Inside) -> bool:  # noqa: ARG002 - for subclasses
        """Whether what is in a file of any name speaks for it."""
        return False

    def chosen(self, paths: list[str]) -> list[str]:
        """Which of the metadata files are read."""
        return paths

    def is_about_images(self, rows: pa.Table) -> bool:  # noqa: ARG002 - for subclasses
        """Whether a metadata file, given its rows, is one of images at all."""
        return True
