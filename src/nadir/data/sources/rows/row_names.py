"""Under which names a metadata row calls its images, and what these mean as paths of the source.

A name that is absolute, leads out of the source, is an address or has backslashes was written on
another machine or by another program: it is never opened, but its end may be that of a listed path.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

from nadir.data.paths import UnsafePathError, safe_join, without_ending
from nadir.data.quarantine import Reason
from nadir.data.sources.containers.parquet_rows import EMBEDDED, NAMES, is_name_key

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_NAME_CHARACTERS = 4096
"""Longest name of an image that is read."""
_MAX_NAMES = 1000
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://[^/]*", re.IGNORECASE)


class LongNameError(ValueError):
    """A row names too many images, or one by a name that is too long; the text says which."""


def written_names(values: dict[str, Any]) -> list[str]:
    """The images' names as a row has them: of `file_name` and its like, else of `*_file_name`.

    Raises:
        LongNameError: A name is too long, or there are too many.
    """
    own, others = _name_keys(tuple(values))
    if not own and not others:
        return []
    found: list[str] = []
    for key in own:
        if found := list(_texts(values[key])):
            break
    else:
        found = [text for key in others for text in _texts(values[key])]
    if any(len(name) > MAX_NAME_CHARACTERS for name in found):
        raise LongNameError(f"the image's name has more than {MAX_NAME_CHARACTERS:,} characters")
    if len(found) > _MAX_NAMES:
        raise LongNameError(f"the row names more than {_MAX_NAMES:,} images")
    return list(dict.fromkeys(found))


# The rows of a table have the same keys.
@functools.lru_cache(maxsize=1 << 10)
def _name_keys(keys: tuple[Any, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Which of a row's keys name images, the first that counts first; which others do."""
    return tuple(key for key in NAMES if key in keys), tuple(filter(is_name_key, keys))


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = value.get("path") or value.get("file_name")
    for name in value if isinstance(value, list) else [value]:
        if isinstance(name, str) and name:
            # A lone surrogate, legal in JSON, can stand in no table.
            yield name.encode("utf-8", "backslashreplace").decode()


def place_columns(written: str, folder: str, root: str) -> dict[str, Any]:
    """What a name means.

    Args:
        written: The name.
        folder: Of the metadata file, relative to the root.
        root: The source's location.

    Returns:
        `image` and `from_root`, the paths from the file's folder and from the root; `tail`, the
        path of another machine; and where it has no other meaning `reason` and `detail`.
    """
    columns: dict[str, Any] = {"written": written}
    if "\\" in written or _ADDRESS.match(written):
        columns["tail"] = _tail(written)
    try:
        columns["image"] = safe_join(folder, written, root)
        columns["from_root"] = safe_join("", written, root)
    except UnsafePathError as error:
        columns["tail"] = _tail(written)
        columns["reason"] = str(Reason.UNSAFE_PATH)
        columns["detail"] = f"{written[:200]!r}: {error}"
    return columns


def _tail(written: str) -> str | None:
    """The parts of a path that may be those of a listed one; null when it has none."""
    path = _ADDRESS.sub("", written)
    if path != written:
        path = re.split(r"[?#]", path, maxsplit=1)[0]
    path = re.sub(r"^[A-Za-z]:", "", path).replace("\\", "/")
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    return "/".join(parts).replace("\0", "") or None


def with_id(values: dict[str, Any], written: list[str]) -> dict[str, Any]:
    """The values of a row, with the name of the image that it holds as its id if it has none."""
    if not written or values.get(EMBEDDED) is not True or values.get("id") is not None:
        return values
    return {**values, "id": without_ending(written[0].replace("\\", "/").rpartition("/")[2])[:200]}
