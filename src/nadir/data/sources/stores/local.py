"""Files of a folder on this machine, with its subfolders.

- Names that start with a dot are hidden and left alone, as is `__MACOSX`; but for waifuc's tags.
- Links to folders are not followed, so there are no loops and nothing is listed twice.
- Links to files count when their target lies inside the folder; no others are opened.
- What is left out is a fault where it is named like an image or may hold some; else it is counted.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from nadir.data.paths import holds_images, is_hidden
from nadir.data.quarantine import Reason
from nadir.data.sources.columns import file_table
from nadir.data.sources.interfaces import Content, Fault, FileChangedError, Files

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
        # Listed paths never do; this holds for other callers, and for what has become a link.
        place = Path(self.location) / path
        if path.startswith("/") or ".." in path.split("/") or self._leaves(place):
            raise PermissionError(1, "the path leads out of the source")
        return place

    def _leaves(self, place: Path) -> bool:
        # The user named this one file, wherever it leads.
        return not self.only and not _within(os.path.realpath(place), self.location)


def _stamp(stat: os.stat_result) -> tuple[int, str]:
    return stat.st_size, str(stat.st_mtime_ns)


def _within(target: str, root: str) -> bool:
    return target.startswith(root.rstrip("/") + "/") or target == root


def _walk(root: str, ignored: Counter[str], faults: list[Fault]) -> Iterator[Stamp]:
    """Every visible regular file below `root` as (path, size, version)."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            # Not a list: entries keep what the system said of them, a kilobyte for each file.
            with os.scandir(Path(root) / folder) as entries:
                for entry in entries:
                    is_folder = entry.is_dir(follow_symlinks=False)
                    if is_hidden(entry.name, folder=is_folder):
                        ignored["hidden"] += 1
                    elif is_folder:
                        folders.append(f"{folder}{entry.name}/")
                    elif (why := _why_not(entry, folder, root)) is not None:
                        _leave_out(folder + entry.name, why, ignored, faults)
                    elif (stamp := _visit(entry, folder, ignored)) is not None:
                        yield stamp
        except OSError as error:
            detail = f"the folder cannot be read: {error.strerror}; its images are not used"
            faults.append((_text(folder), str(Reason.CANNOT_OPEN), detail))


def _visit(entry: os.DirEntry[str], folder: str, ignored: Counter[str]) -> Stamp | None:
    try:
        stat = entry.stat()
    except OSError:
        ignored["gone meanwhile"] += 1
        return None
    return folder + entry.name, *_stamp(stat)


class _Why(NamedTuple):
    """Why an entry is not a file of this store: for its fault, and for the count."""

    reason: Reason
    detail: str
    counted: str
    folder: bool = False


_PIPE = _Why(Reason.UNSAFE_PATH, "it is a pipe, a socket or a device", "no regular file")
_FOLDER = _Why(
    Reason.UNSAFE_PATH,
    "it is a link to a folder, which is not followed",
    "links to a folder",
    folder=True,
)
_NOWHERE = _Why(Reason.MISSING_IMAGE, "the link leads nowhere", "links that lead nowhere")
_LEAVES = _Why(
    Reason.UNSAFE_PATH,
    "the link leads out of the source and is not followed",
    "links that leave the folder",
)
_HUB_CACHE = _Why(
    Reason.UNSAFE_PATH,
    "the link leads out of the source, to the blobs of a Hugging Face cache; make the folder that "
    "holds both `snapshots` and `blobs` the source, or download with local_dir",
    "links that leave the folder",
)
_NO_TEXT = _Why(Reason.BAD_NAME, "the name is not UTF-8", "names that are not UTF-8")


def _why_not(entry: os.DirEntry[str], folder: str, root: str) -> _Why | None:
    """Why an entry is not a file of this store; None when it is one."""
    if entry.is_symlink():
        target = os.path.realpath(entry.path)
        if Path(target).is_dir():
            return _FOLDER
        if not Path(target).is_file():
            return _NOWHERE
        if not _within(target, root):
            return _HUB_CACHE if Path(target).parent.name == "blobs" else _LEAVES
    elif not entry.is_file():
        return _PIPE
    return None if _is_text(folder + entry.name) else _NO_TEXT


def _leave_out(path: str, why: _Why, ignored: Counter[str], faults: list[Fault]) -> None:
    if why.folder or holds_images(path):
        faults.append((_text(path), str(why.reason), why.detail))
    else:
        ignored[why.counted] += 1


def _is_text(path: str) -> bool:
    return not any("\udc80" <= c <= "\udcff" for c in path)


def _text(path: str) -> str:
    r"""A path for a table. One that is not UTF-8 reads as a shell takes it, `$'caf\xe9.png'`.

    So it is not another file's: a plain `caf\xe9.png` may lie beside it.
    """
    if _is_text(path):
        return path
    quoted = path.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{os.fsencode(quoted).decode('utf-8', 'backslashreplace')}'"
