"""Files of a folder on this machine, with its subfolders.

- Names that start with a dot are hidden and left alone, as is `__MACOSX`.
- Links to folders are not followed, so there are no loops and nothing is listed twice.
- Links to files count when their target lies inside the folder; no others are opened.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nadir.data.quarantine import Reason
from nadir.data.sources.base import Content, Fault, FileChangedError, Files
from nadir.data.sources.columns import file_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    Stamp = tuple[str, int, str]


@dataclass(frozen=True)
class LocalStore:
    """A folder, or one file of it.

    Args:
        location: The folder, absolute, links resolved.
        only: The one file of it that counts; empty for all.
    """

    location: str
    only: str = ""

    @property
    def remote(self) -> bool:
        """False."""
        return False

    def list_files(self) -> Files:
        """Every visible file; costs one `stat` each."""
        ignored: Counter[str] = Counter()
        if self.only:
            return Files(file_table([(self.only, *self.stat(self.only))]), ignored)
        faults: list[Fault] = []
        table = file_table(_walk(self.location, ignored, faults))
        return Files(table, ignored, tuple(faults))

    def stat(self, path: str) -> tuple[int, str]:
        """Size (bytes) and time of the last change (ns).

        Raises:
            OSError: The file is gone.
        """
        return _stamp(self._place(path).stat())

    def read(self, path: str, limit: int) -> Content:
        """The first `limit` bytes.

        Raises:
            OSError: It cannot be read.
        """
        return self.read_range(path, 0, limit)

    def read_range(self, path: str, start: int, length: int) -> Content:
        """`length` bytes from byte `start` on.

        Raises:
            OSError: It cannot be read.
        """
        with self._place(path).open("rb") as file:
            # Python sets aside what is asked for before it looks at what is there.
            length = max(0, min(length, os.fstat(file.fileno()).st_size - start))
            file.seek(start)
            data = file.read(length)
            # Afterwards, so that a change while it was read is seen.
            return Content(data, _stamp(os.fstat(file.fileno()))[1])

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        """The opened file.

        Raises:
            FileChangedError: It has another version.
            OSError: It cannot be opened.
        """
        file = self._place(path).open("rb")
        if version is not None and _stamp(os.fstat(file.fileno()))[1] != version:
            file.close()
            raise FileChangedError(0, "the file has changed since it was listed")
        return file

    def _place(self, path: str) -> Path:
        # Listed paths never do; this holds for whatever else may ask.
        if path.startswith("/") or ".." in path.split("/"):
            raise PermissionError(1, "the path leads out of the source")
        return Path(self.location) / path


def _stamp(stat: os.stat_result) -> tuple[int, str]:
    return stat.st_size, str(stat.st_mtime_ns)


def _walk(root: str, ignored: Counter[str], faults: list[Fault]) -> Iterator[Stamp]:
    """Every visible regular file below `root` as (path, size, version)."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            # Not a list: entries keep what the system told of them, a kilobyte for each file.
            with os.scandir(Path(root) / folder) as entries:
                for entry in entries:
                    if entry.name.startswith(".") or entry.name == "__MACOSX":
                        ignored["hidden"] += 1
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}{entry.name}/")
                    elif (stamp := _visit(entry, root, folder, ignored)) is not None:
                        yield stamp
        except OSError as error:
            detail = f"the folder cannot be read: {error.strerror}; its images are not used"
            faults.append((_text(folder), str(Reason.CANNOT_OPEN), detail))


def _visit(entry: os.DirEntry[str], root: str, folder: str, ignored: Counter[str]) -> Stamp | None:
    why = _why_not(entry, root)
    if why:
        ignored[why] += 1
        return None
    try:
        stat = entry.stat()
    except OSError:
        ignored["gone meanwhile"] += 1
        return None
    return _text(folder + entry.name), *_stamp(stat)


def _text(path: str) -> str:
    """Names that are no UTF-8 cannot stand in a table; validate finds and quarantines them."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _why_not(entry: os.DirEntry[str], root: str) -> str:
    """Why an entry is no file of this store; empty when it is one."""
    if not entry.is_symlink():
        return "" if entry.is_file() else "no regular file"
    target = os.path.realpath(entry.path)
    if Path(target).is_dir():
        return "links to a folder"
    if not Path(target).is_file():
        return "links that lead nowhere"
    return "" if Path(target).is_relative_to(root) else "links that leave the folder"
