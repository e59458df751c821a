"""What a layout is: how its metadata files are recognised, and how its images are listed."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    import pyarrow as pa

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.rows.documents import TableError

_MOST_NAMED = 12


class Listed(NamedTuple):
    """What a layout found.

    Attributes:
        table: One row per image, of schema `LISTING`.
        ignored: How many files were passed over, by reason.
        broken: What is wrong with metadata files that cannot be read, though others can.
        layout: The layout it was read by, where that was found out; "" for the one asked.
        notes: What else the log should say, one sentence each.
    """

    table: pa.Table
    ignored: Counter[str]
    broken: list[TableError]
    layout: str = ""
    notes: tuple[str, ...] = ()


def not_read(unread: list[tuple[str, str]]) -> tuple[str, ...]:
    """One sentence that names the files that are not read, given (path, why) of each."""
    if not unread:
        return ()
    by_reason: dict[str, list[str]] = {}
    for path, why in sorted(unread):
        by_reason.setdefault(why, []).append(path)
    parts = [f"{_some(paths)} ({why})" for why, paths in by_reason.items()]
    return (f"not read: {'; '.join(parts)}",)


def _some(paths: list[str]) -> str:
    more = f" and {len(paths) - _MOST_NAMED:,} more" if len(paths) > _MOST_NAMED else ""
    return ", ".join(paths[:_MOST_NAMED]) + more


class Layout(abc.ABC):
    """A way in which datasets lie on disk.

    Attributes:
        name: As `ingest.format` calls it.
    """

    name: str

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
