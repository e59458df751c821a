"""A folder of images, with subfolders, each image with its tags in a file beside it.

The tags of `x.jpg` are looked for in `x.jpg.txt`, `x.txt`, `x.jpg.json`, `x.json`, in this order.

Rules for what a folder may hold besides:
- Names that start with a dot are hidden and left alone, as is `__MACOSX`.
- Links to folders are not followed, so there are no loops and nothing is listed twice.
- Links to files count when their target lies inside the folder; no others are opened.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import pyarrow as pa

from nadir.data.sources.base import Listing
from nadir.data.tables import LISTING
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

    Stamp = tuple[str, int, int]

_READABLE = "png apng jpg jpeg jpe jfif webp gif bmp dib tif tiff avif avifs mpo"
# Not decodable here, but listed, so that each ends in quarantine with a reason and a fix.
_UNREADABLE = "heic heif jxl jp2 psd tga"
IMAGE_ENDINGS = frozenset(f".{name}" for name in f"{_READABLE} {_UNREADABLE}".split())
"""File name endings that make a file an image."""
_TAG_ENDINGS = (".txt", ".json")


@dataclass(frozen=True)
class FolderSource:
    """A folder on this machine.

    Args:
        location: The folder, absolute, links resolved.
    """

    location: str

    @property
    def format(self) -> str:
        """`folder`."""
        return "folder"

    def list_images(self) -> Listing:
        """List every image, sorted by path; costs one `stat` per file.

        Raises:
            NadirError: No image file in the folder.
        """
        ignored: Counter[str] = Counter()
        images: list[Stamp] = []
        tags: dict[str, Stamp] = {}
        for stamp in _walk(self.location, ignored):
            ending = PurePosixPath(stamp[0]).suffix.lower()
            if ending in _TAG_ENDINGS:
                tags[stamp[0]] = stamp
            elif ending in IMAGE_ENDINGS:
                images.append(stamp)
            else:
                ignored["not named like an image"] += 1
        passed_over = ", ".join(f"{n:,} {why}" for why, n in sorted(ignored.items()))
        notes = (f"not listed: {passed_over}",) if ignored else ()
        if not images:
            raise NadirError(
                f"no image files in {self.location}" + "".join(f"; {note}" for note in notes),
                where="params.yaml ingest.source",
                fix="set it to a folder with images (.png, .jpg, .webp ...)",
            )
        return Listing(_table(sorted(images), tags), notes)

    def open(self, path: str) -> BinaryIO:
        """Open a listed file for reading.

        Raises:
            OSError: It cannot be opened.
        """
        return (Path(self.location) / path).open("rb")

    def version(self, path: str) -> tuple[int, int]:
        """Size (bytes) and modification time (ns) as they are now.

        Raises:
            OSError: The file is gone.
        """
        stat = (Path(self.location) / path).stat()
        return stat.st_size, stat.st_mtime_ns


def _walk(root: str, ignored: Counter[str]) -> Iterator[Stamp]:
    """Every visible regular file below `root` as (path, size, modified_ns)."""
    folders = [""]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(Path(root) / folder))
        except OSError as error:
            ignored[f"folders not readable ({error.strerror})"] += 1
            continue
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                ignored["hidden"] += 1
            elif entry.is_dir(follow_symlinks=False):
                folders.append(f"{folder}{entry.name}/")
            elif (stamp := _stamp(entry, root, folder, ignored)) is not None:
                yield stamp


def _stamp(entry: os.DirEntry[str], root: str, folder: str, ignored: Counter[str]) -> Stamp | None:
    why = _why_not(entry, root)
    if why:
        ignored[why] += 1
        return None
    try:
        stat = entry.stat()
    except OSError:
        ignored["gone meanwhile"] += 1
        return None
    # Names that are no UTF-8 cannot stand in a table; validate finds and quarantines them.
    path = os.fsencode(folder + entry.name).decode("utf-8", "backslashreplace")
    return path, stat.st_size, stat.st_mtime_ns


def _why_not(entry: os.DirEntry[str], root: str) -> str:
    """Why an entry is no file of this source; empty when it is one."""
    if not entry.is_symlink():
        return "" if entry.is_file() else "no regular file"
    target = os.path.realpath(entry.path)
    if Path(target).is_dir():
        return "links to a folder"
    if not Path(target).is_file():
        return "links that lead nowhere"
    return "" if Path(target).is_relative_to(root) else "links that leave the folder"


def _table(images: list[Stamp], tags: dict[str, Stamp]) -> pa.Table:
    found = [_tags_of(path, tags) for path, _, _ in images]
    columns = [list(column) for column in (*zip(*images, strict=True), *zip(*found, strict=True))]
    arrays = [pa.array(c, field.type) for c, field in zip(columns, LISTING, strict=True)]
    return pa.Table.from_arrays(arrays, schema=LISTING)


def _tags_of(path: str, tags: dict[str, Stamp]) -> Stamp | tuple[None, None, None]:
    stem = path[: -len(PurePosixPath(path).suffix)]
    for ending in _TAG_ENDINGS:
        for name in (path + ending, stem + ending):
            if name in tags:
                return tags[name]
    return None, None, None
