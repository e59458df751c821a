"""Whether anybody has written to the store since, told without opening it."""

from __future__ import annotations

from pathlib import Path

from nadir.tracking.store.connection import tracking_uri

_SQLITE = "sqlite:///"
# Bytes of SQLite's file header: its change counter, which every writing transaction raises
# (https://www.sqlite.org/fileformat.html, 1.3.7). With a write-ahead log, that file grows instead.
_COUNTER = slice(24, 28)


def store_state(root: Path) -> str | None:
    """A text that stays the same while nobody writes to the store.

    Args:
        root: The project's root.

    Returns:
        None of a server, which has to be asked, and of a file that does not exist.
    """
    uri = tracking_uri(root)
    if not uri.startswith(_SQLITE):
        return None
    path = Path(uri.removeprefix(_SQLITE))
    try:
        with path.open("rb") as file:
            counter = file.read(_COUNTER.stop)[_COUNTER].hex()
    except OSError:
        return None
    files = [path, *(path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal"))]
    return "|".join([str(path), counter, *map(_stamp, files)])


def _stamp(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return "-"
    return f"{found.st_ino}.{found.st_size}.{found.st_mtime_ns}"
