"""Folders of `work/training_start`, named by what they were made of; whole or not there.

Whoever looks, makes or removes holds the lock of the place. What is removed stays readable to those
who have mapped it, so nobody needs to be asked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.files import atomic_folder, file_hash, read_json_object, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FOLDER = "training_start"
"""Below `work/`."""

LOCK = ".lock"
_COMPLETE, _HASHES = "complete.json", "hashes.json"
_STAY = 4


def is_whole(folder: Path) -> bool:
    """Whether all that was written is there, each file as long as it was."""
    try:
        sizes = read_json_object(folder / _COMPLETE)
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, NadirError):
        return False


@contextlib.contextmanager
def writing(folder: Path) -> Iterator[Path]:
    """Give an empty folder that takes the place of `folder` when the block ends."""
    with atomic_folder(folder) as temporary:
        yield temporary
        sizes = {path.name: path.stat().st_size for path in sorted(temporary.iterdir())}
        write_json(temporary / _COMPLETE, sizes)


def used(root: Path, *folders: Path) -> None:
    """Note that folders are in use now; of each kind the four that were used last stay.

    A kind is what stands before the first dash of a name. What a killed process left half-written
    goes as well.
    """
    for folder in folders:
        os.utime(folder)
    for left in root.glob(".*.tmp"):
        shutil.rmtree(left, ignore_errors=True)
    for folder in folders:
        kind = folder.name.partition("-")[0]
        alike = sorted(root.glob(f"{kind}-*"), key=lambda path: -path.stat().st_mtime_ns)
        for old in alike[_STAY:]:
            shutil.rmtree(old, ignore_errors=True)


def content_hashes(root: Path, files: list[Path]) -> dict[str, str]:
    """sha256 of files by name, "" where there is none.

    They are remembered by place, inode, size and time of change, so that a file is read once.
    """
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, NadirError):
        known = read_json_object(root / _HASHES)
    found, seen = {}, {}
    for path in files:
        found[path.name] = ""
        if path.is_file():
            stat = path.stat()
            state = [stat.st_ino, stat.st_size, stat.st_mtime_ns]
            entry = known.get(str(path.resolve()), {})
            if not isinstance(entry, dict) or entry.get("state") != state:
                entry = {"state": state, "sha256": file_hash(path)}
            seen[str(path.resolve())] = entry
            found[path.name] = entry["sha256"]
    if any(known.get(name) != entry for name, entry in seen.items()):
        write_json(root / _HASHES, seen)
    return found
