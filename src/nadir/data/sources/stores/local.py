"""Files of a folder on this machine, with its subfolders.

- Names that start with a dot are hidden and left alone, as is `__MACOSX`; but for waifuc's tags.
- Links to folders are not followed, so there are no loops and nothing is listed twice.
- Links to files count when their target lies inside the folder; no others are opened.
- What is left out is a fault where it is named like an image or may hold some; else it is counted.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from nadir.data.paths import holds_images, is_hidden
from nadir.data.quarantine import Reason
from nadir.data.sources.columns import file_table, stamped_table
from nadir.data.sources.interfaces import Content, Fault, FileChangedError, Files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nadir.data.sources.columns import FileColumns

_FILES_AT_ONCE = 1 << 16


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
        if self.only:
            return Files(file_table([(self.only, *self.stat(self.only))]), {})
        walk = _Walk(self.location)
        table = stamped_table(walk.columns())
        return Files(table, walk.ignored, tuple(walk.faults))

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


@dataclass
class _Walk:
    """A walk over every visible regular file below `root`.

    Attributes:
        root: Where it starts.
        ignored: Gets the number of entries that are passed over, by reason.
        faults: Gets what should have been listed and could not be.
    """

    root: str
    ignored: Counter[str] = field(default_factory=Counter)
    faults: list[Fault] = field(default_factory=list)
    _found: FileColumns = field(default_factory=lambda: ([], [], []))
    _folders: list[str] = field(default_factory=lambda: [""])

    def columns(self) -> Iterator[FileColumns]:
        """Paths, sizes and times of some files after the other."""
        while self._folders:
            folder = self._folders.pop()
            try:
                yield from self._visit(folder)
            except OSError as error:
                detail = f"the folder cannot be read: {error.strerror}; its images are not used"
                self.faults.append((_text(folder), str(Reason.CANNOT_OPEN), detail))
        yield self._found

    def _visit(self, folder: str) -> Iterator[FileColumns]:
        """What has been found each time that it is much; the rest stays for the next folder.

        Nothing is called for a file of a plain name but what the system must be asked: at millions
        of files each call of Python's own is seconds.
        """
        paths, sizes, times = self._found
        sound = _is_text(folder)
        # Not a list: entries keep what the system said of them, a kilobyte for each file.
        with _opened(Path(self.root) / folder) as place, os.scandir(place) as entries:
            for entry in entries:
                name = entry.name
                # A dot or `__MACOSX` begins what may be hidden.
                plain = sound and name.isascii() and name[0] not in "._"
                regular = plain and entry.is_file(follow_symlinks=False)
                if not regular and not self._is_file(entry, folder):
                    continue
                try:
                    stat = entry.stat()
                except OSError:
                    self.ignored["gone meanwhile"] += 1
                    continue
                paths.append(folder + name)
                sizes.append(stat.st_size)
                times.append(stat.st_mtime_ns)
                if len(paths) >= _FILES_AT_ONCE:
                    yield self._found
                    paths, sizes, times = self._found = ([], [], [])

    def _is_file(self, entry: os.DirEntry[str], folder: str) -> bool:
        """Whether an entry is a file of this store; folders are kept for later, others counted."""
        path = folder + entry.name
        is_folder = entry.is_dir(follow_symlinks=False)
        if is_hidden(entry.name, folder=is_folder):
            self.ignored["hidden"] += 1
        elif is_folder:
            self._folders.append(f"{path}/")
        elif why := _why_not(entry, path, self.root):
            self._leave_out(path, why)
        else:
            return True
        return False

    def _leave_out(self, path: str, why: _Why) -> None:
        if why.folder or holds_images(path):
            self.faults.append((_text(path), str(why.reason), why.detail))
        else:
            self.ignored[why.counted] += 1


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """A folder's handle: names are looked up in it, and not all the way from the root each time."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield handle
    finally:
        os.close(handle)


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


def _why_not(entry: os.DirEntry[str], path: str, root: str) -> _Why | None:
    """Why an entry is not a file of this store; None when it is one."""
    if entry.is_symlink():
        target = os.path.realpath(Path(root) / path)
        if Path(target).is_dir():
            return _FOLDER
        if not Path(target).is_file():
            return _NOWHERE
        if not _within(target, root):
            return _HUB_CACHE if Path(target).parent.name == "blobs" else _LEAVES
    elif not entry.is_file():
        return _PIPE
    return None if _is_text(path) else _NO_TEXT


def _is_text(path: str) -> bool:
    """Whether the system's bytes of a path are UTF-8: others come as halves of surrogate pairs."""
    if path.isascii():
        return True
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(path: str) -> str:
    r"""A path for a table. One that is not UTF-8 reads as a shell takes it, `$'caf\xe9.png'`.

    So it is not another file's: a plain `caf\xe9.png` may lie beside it.
    """
    if _is_text(path):
        return path
    quoted = path.replace("\\", "\\\\").replace("'", "\\'")
    return f"$'{os.fsencode(quoted).decode('utf-8', 'backslashreplace')}'"
