"""Images that somebody took out: a small tracked file of their hashes, which `validate` honours."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.ground.files import write_text

if TYPE_CHECKING:
    from collections.abc import Iterable

REMOVED = Path("removed_images.txt")
"""One sha256 a line; what follows a `#` is a comment."""
_SHA256 = re.compile(r"[0-9a-f]{64}")


def read_removed(root: Path | None = None) -> frozenset[str]:
    """The sha256 of every removed image; empty where there is no such file.

    Args:
        root: The project's root; the current folder when None.

    Raises:
        NadirError: A line is no sha256.
    """
    path = (root or Path()) / REMOVED
    if not path.is_file():
        return frozenset()
    found = set()
    text = path.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip().lower()
        if entry and not _SHA256.fullmatch(entry):
            raise NadirError(
                f"line {number} is not a sha256 of 64 hexadecimal digits: {entry[:80]}",
                where=str(path),
                fix="correct or delete the line; `nadir data remove` writes such lines",
            )
        found.add(entry)
    return frozenset(found - {""})


def remove(hashes: Iterable[str], root: Path) -> list[str]:
    """Put images on the list.

    Args:
        hashes: sha256 of their files.
        root: The project's root.

    Returns:
        Those that were not on it, in the given order.

    Raises:
        NadirError: The list is damaged.
    """
    known = read_removed(root)
    new = [sha256 for sha256 in dict.fromkeys(hashes) if sha256 not in known]
    if new:
        path = root / REMOVED
        text = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
        if text and not text.endswith("\n"):
            text += "\n"
        write_text(path, text + "".join(f"{sha256}\n" for sha256 in new))
    return new
