"""What the beginning of a table or JSON file shows; enough to know whose form it has."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

from nadir.data.sources.containers.cells import image_cells
from nadir.data.sources.containers.parquet_files import open_table, parsing
from nadir.data.sources.containers.parquet_rows import NAMES, is_name_key
from nadir.data.sources.rows.documents import MAX_LINE_BYTES, read_documents
from nadir.data.sources.rows.envelopes import as_row, beginning, is_row, unwrapped
from nadir.data.tag_forms.classes import class_of_key
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import BinaryIO

    from nadir.data.sources.interfaces import Store

_BEGINNING_BYTES = 1 << 18
_ROWS = 4
_TEXTS = frozenset({"tags", "tag_string", "text", "caption", "prompt"})


class Inside(NamedTuple):
    """What the beginning of a table shows.

    Attributes:
        keys: Its columns, in lower case.
        embedded: Whether it holds images.
        keyed: Whether it is a JSON object with an entry per image.
        lone: Whether it is one row by itself.
    """

    keys: frozenset[str]
    embedded: bool = False
    keyed: bool = False
    lone: bool = False

    @property
    def names(self) -> bool:
        """Whether its rows name images."""
        return self.keyed or any(key in NAMES or is_name_key(key) for key in self.keys)

    @property
    def says(self) -> bool:
        """Whether its rows say what an image shows."""
        return any(
            key in _TEXTS or key.startswith("tag_string_") or bool(class_of_key(key))
            for key in self.keys
        )

    @property
    def posts(self) -> bool:
        """Whether its rows are a booru's posts, which images may be named after."""
        return self.says and bool(self.keys & {"id", "md5"}) and "post_id" not in self.keys

    @property
    def dump(self) -> bool:
        """Whether it has a booru's own columns."""
        own = any(key.startswith("tag_string") for key in self.keys)
        return own or self.keys >= {"md5", "tags"} or self.keys >= {"id", "tags", "file"}


def look_inside(store: Store, path: str) -> Inside | None:
    """What a file's beginning shows; None where it cannot be understood."""
    try:
        with store.open(path) as file:
            if path.lower().endswith(".parquet"):
                return _parquet(file)
            if path.lower().endswith(".json"):
                return _json(file)
            rows = (row for row, _ in itertools.islice(read_documents(file, path), _ROWS))
            return _shown(rows)
    except (OSError, NadirError, ValueError, RecursionError):
        return None


def _parquet(file: BinaryIO) -> Inside:
    table = open_table(file)
    with parsing():
        names = [str(name).lower() for name in table.schema_arrow.names]
        return Inside(frozenset(names), image_cells(table.schema_arrow) is not None)


def _json(file: BinaryIO) -> Inside | None:
    data = file.read(_BEGINNING_BYTES + 1)
    whole = len(data) <= _BEGINNING_BYTES
    # A letter may be cut in two where the beginning ends.
    text = data.decode("utf-8-sig", "strict" if whole else "ignore")
    first, _, rest = text.partition("\n")
    try:
        value = beginning(text, whole=whole)
    except ValueError:
        # JSON lines under the name of JSON.
        if not rest.strip() or len(first) > MAX_LINE_BYTES:
            raise
        value = [beginning(first, whole=True)]
    if isinstance(value, dict) and is_row(value):
        return _keys([value])._replace(lone=True)
    value = unwrapped(value)
    if isinstance(value, list):
        return _shown(value[:_ROWS])
    if not isinstance(value, dict):
        return None
    entries = [as_row(key, entry) for key, entry in itertools.islice(value.items(), _ROWS)]
    keyed = bool(entries) and all(isinstance(entry, dict) for entry in entries)
    return _keys(entries)._replace(keyed=True) if keyed else Inside(frozenset())


def _shown(rows: Iterable[Any]) -> Inside | None:
    """What some rows have; None where nothing of them can be understood."""
    found = [row for row in rows if isinstance(row, dict)]
    return _keys(found) if found else None


def _keys(rows: list[Any]) -> Inside:
    return Inside(frozenset(str(key).lower() for row in rows for key in row))
