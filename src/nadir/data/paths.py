"""How a listing names things, and how names that others wrote become paths of a source.

| path | means |
|---|---|
| `a/b.jpg` | a file |
| `a/b.tar::c/d.jpg` | a member of a tar |
| `a/b.parquet::000017` | the image in row 17 of a table, counted from 1 |
| `a/10_name/` | the words in a folder's name |
| `a/b.jsonl#000018` | row 18 of a metadata file: a line, a record or an entry |
"""

from __future__ import annotations

import posixpath
import re
from typing import NamedTuple

_READABLE = "png apng jpg jpeg jpe jfif webp gif bmp dib tif tiff avif avifs mpo"
# Not decodable here, but listed, so that each ends in quarantine with a reason and a fix.
_UNREADABLE = "heic heif jxl jp2 psd tga"
IMAGE_ENDINGS = tuple(f"{_READABLE} {_UNREADABLE}".split())
"""File name endings that make a file an image."""
IMAGE_NAME = rf"(?is)[^/]\.(?:{'|'.join(IMAGE_ENDINGS)})$"
"""A path of an image, as a regular expression for re and for pyarrow."""
HOLDS_IMAGES = rf"(?is)[^/]\.(?:{'|'.join((*IMAGE_ENDINGS, 'tar', 'parquet'))})$"
"""A path that must not be passed over without a word: of an image, or of what may hold images."""
CONTAINER_NAME = r"(?is)\.(?:tar|parquet)::"
"""What must not occur in a file's own path: it parts a container from what lies in it."""
HIDDEN_TAGS = r"(?s)^(|.*/)\.([^/]+)_meta\.json$"
"""A path of a tag file as waifuc hides it, in two parts: `.x_meta.json` beside `x.png`."""

_INSIDE = re.compile(r"(?is)(.+?\.(?:tar|parquet))::(.+)")
_ROW = re.compile(r"(?is)(.+\.(?:jsonl|ndjson|json|csv|parquet))#(\d{6,18})")
_NUMBER = re.compile(r"\d{6,18}")


class Place(NamedTuple):
    """A path, taken apart.

    Attributes:
        file: The file of the store.
        member: Name inside a tar.
        cell: Row of a table that holds the image, counted from 1.
        row: Row of a metadata file, counted from 1.
    """

    file: str
    member: str | None = None
    cell: int | None = None
    row: int | None = None


class UnsafePathError(ValueError):
    """A name that leads out of the source; the text says how."""


def place_of(path: str) -> Place:
    """Take a path of a listing apart."""
    if found := _ROW.fullmatch(path):
        return Place(found[1], row=int(found[2]))
    if not (found := _INSIDE.fullmatch(path)):
        return Place(path)
    if found[1].lower().endswith(".tar"):
        return Place(found[1], member=found[2])
    # Text that is not a number names no row.
    number = int(found[2]) if _NUMBER.fullmatch(found[2]) else 0
    return Place(found[1], cell=number)


def is_row(path: str) -> bool:
    """True for a row of a metadata file."""
    return _ROW.fullmatch(path) is not None


def cell_path(file: str, number: int) -> str:
    """The path of the image in a row of a table."""
    return f"{file}::{number:06d}"


def row_path(file: str, number: int) -> str:
    """The path of a row of a metadata file."""
    return f"{file}#{number:06d}"


def without_ending(path: str) -> str:
    """A path without its name's ending."""
    folder, name = posixpath.split(path)
    stem = name.rpartition(".")[0] or name
    return f"{folder}/{stem}" if folder else stem


def safe_join(folder: str, name: str, root: str = "") -> str:
    """The path below the source's root that `name` means, written in a file of `folder`.

    Nothing is looked up: the result is compared with the listing, so nothing else can be opened.

    Args:
        folder: Of the file that holds the name, relative to the root; "" is the root.
        name: As written.
        root: The source's location; absolute names below it count as relative ones.

    Raises:
        UnsafePathError: It is empty, absolute or leads out of the source.
    """
    if not name or "\0" in name:
        raise UnsafePathError("it is empty" if not name else "it holds a zero byte")
    if root and name.startswith(f"{root}/"):
        folder, name = "", name[len(root) + 1 :]
    if name.startswith("/") or re.match(r"[A-Za-z]:[\\/]|[a-z0-9]+://", name):
        raise UnsafePathError("it is absolute and not below the source")
    path = posixpath.normpath(posixpath.join(folder, name))
    if path.split("/", 1)[0] in ("..", ".", ""):
        raise UnsafePathError("it leads out of the source")
    return path


def is_hidden(name: str, *, folder: bool = False) -> bool:
    """True for a name within a source that is left alone: hidden, but no file of tags."""
    if name.startswith("."):
        return folder or re.match(HIDDEN_TAGS, name) is None
    return name == "__MACOSX"


def holds_images(path: str) -> bool:
    """True for a path that is named like an image, a tar or a parquet table."""
    return re.search(HOLDS_IMAGES, path) is not None


def is_image(path: str) -> bool:
    """True for a path that is named like an image."""
    return re.search(IMAGE_NAME, path) is not None
