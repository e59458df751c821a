"""Several folders or buckets as one place, each below a name of its own."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from nadir.data.paths import is_image, without_ending
from nadir.data.sources.columns import file_table
from nadir.data.sources.interfaces import Content, Files

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nadir.data.sources.interfaces import Fault, Store

TEXT = ".txt"
"""The ending under which an image's text is listed, whatever it is called."""
_TEXTS = (".txt", ".caption", ".tags")


@dataclass(frozen=True)
class Part:
    """One of the gathered places.

    Attributes:
        prefix: Its name in the whole, with a slash at the end.
        store: Its files.
        direct: Only what lies directly in it, not in its subfolders.
        text: Ending of the images' texts, other texts are none of theirs; None takes all as they
            are, "" none.
        from_names: An image's text is its file name.
    """

    prefix: str
    store: Store
    direct: bool = False
    text: str | None = None
    from_names: bool = False


@dataclass(frozen=True)
class GatheredStore:
    """Several places as one.

    Args:
        location: The file that names them.
        parts: The places, of different prefixes.
    """

    location: str
    parts: tuple[Part, ...]

    @property
    def remote(self) -> bool:
        """True when one of them is."""
        return any(part.store.remote for part in self.parts)

    def list_files(self) -> Files:
        """Every visible file of all places."""
        ignored: Counter[str] = Counter()
        faults: list[Fault] = []
        rows: list[tuple[str, int, str]] = []
        for part in self.parts:
            found = part.store.list_files()
            ignored.update(found.ignored)
            faults += [(part.prefix + path, *rest) for path, *rest in found.faults]  # type: ignore[misc]
            columns = (found.table.column(name).to_pylist() for name in found.table.column_names)
            rows += _listed(part, zip(*columns, strict=True), ignored)
        return Files(file_table(rows), ignored, tuple(faults))

    def stat(self, path: str) -> tuple[int, str]:
        """Size (bytes) and version of a file as they are now.

        Raises:
            OSError: The file is gone.
        """
        part, inner = self._part(path)
        if (image := _image_of(part, inner)) is not None:
            part.store.stat(image)
            return _stamp(image)
        return part.store.stat(inner)

    def read(self, path: str, limit: int) -> Content:
        """The first `limit` bytes.

        Raises:
            OSError: It cannot be read.
        """
        part, inner = self._part(path)
        if (image := _image_of(part, inner)) is not None:
            return Content(_words(image)[:limit], _stamp(image)[1])
        return part.store.read(inner, limit)

    def read_range(self, path: str, start: int, length: int) -> Content:
        """`length` bytes from byte `start` on.

        Raises:
            OSError: It cannot be read.
        """
        part, inner = self._part(path)
        return part.store.read_range(inner, start, length)

    def open(self, path: str, version: str | None = None) -> BinaryIO:
        """The opened file.

        Raises:
            OSError: It cannot be opened, or has another version.
        """
        part, inner = self._part(path)
        return part.store.open(inner, version)

    def _part(self, path: str) -> tuple[Part, str]:
        """The place of a path, and the path in it."""
        for part in self.parts:
            if path.startswith(part.prefix) and _is_of(part, path):
                inner = path.removeprefix(part.prefix)
                own = part.text if part.text and not part.from_names else TEXT
                return part, inner.removesuffix(TEXT) + own if inner.endswith(TEXT) else inner
        raise FileNotFoundError(2, "no folder of the dataset has this file")


def _is_of(part: Part, path: str) -> bool:
    """Whether a path may be of this place: a single file shares its prefix with a folder."""
    only = getattr(part.store, "only", "")
    return not only or path == part.prefix + only


def _listed(
    part: Part, rows: Iterator[tuple[str, int, str]], ignored: Counter[str]
) -> Iterator[tuple[str, int, str]]:
    for path, size, version in rows:
        if part.direct and "/" in path:
            ignored["in subfolders, which the dataset file does not read"] += is_image(path)
        elif part.text is not None and path.lower().endswith((part.text or TEXT, *_TEXTS)):
            if part.text and path.endswith(part.text):
                yield part.prefix + path.removesuffix(part.text) + TEXT, size, version
        else:
            yield part.prefix + path, size, version
            if part.from_names and is_image(path):
                yield part.prefix + path + TEXT, *_stamp(path)


def _image_of(part: Part, inner: str) -> str | None:
    """The image whose name is the text that a path stands for."""
    image = inner.removesuffix(TEXT)
    return image if part.from_names and image != inner and is_image(image) else None


def _words(image: str) -> bytes:
    return without_ending(image.rpartition("/")[2]).replace("_", " ").encode()


def _stamp(image: str) -> tuple[int, str]:
    return len(_words(image)), "name"
