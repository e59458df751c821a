"""JSON documents whose rows lie within something: answers of APIs, entries by image, lone posts."""

from __future__ import annotations

import json
from typing import Any

from nadir.data.paths import is_image
from nadir.data.sources.containers.parquet_rows import NAMES
from nadir.data.tag_forms.records import is_row_key

_LISTS = ("posts", "post", "images", "data", "items", "results", "rows", "records", "entries")
"""Keys under which an answer has its posts, the first that it has; another key does, if alone."""
_WRAPPERS = frozenset({"response", "body", "payload", "result", "files", *_LISTS})
_DEPTH = 3
_SAYS = frozenset({"tags", "tag_string", "caption", "text", "prompt", "md5"})


def unwrapped(value: Any, depth: int = _DEPTH) -> Any:
    """The list of rows, or the object with an entry per image, that lies in a JSON document."""
    if not isinstance(value, dict) or _is_keyed(value):
        return value
    if is_row(value):
        return [value]
    lists = {key: inner for key, inner in value.items() if _is_rows(key, inner)}
    if len(lists) == 1:
        return next(iter(lists.values()))
    for key in _LISTS:
        if key in lists or (key == "posts" and isinstance(value.get(key), list)):
            return value[key]
    wrapped = [v for key, v in value.items() if key.lower() in _WRAPPERS and isinstance(v, dict)]
    if depth and not lists and len(wrapped) == 1 and wrapped[0]:
        return unwrapped(wrapped[0], depth - 1)
    return value


def is_row(value: dict[str, Any]) -> bool:
    """True for an object that is a post, or a row about an image, by itself."""
    keys = {str(key).lower() for key in value}
    says = bool(keys & _SAYS) or any(key.startswith("tag_string_") for key in keys)
    return says and bool(keys & {"id", "md5", *NAMES}) and not _is_keyed(value)


def as_row(name: str, entry: Any) -> Any:
    """An image's entry as the values of a row: a text, or a list of texts, is its captions."""
    if isinstance(entry, dict) or not is_image(name):
        return entry
    if isinstance(entry, str):
        return {"caption": entry}
    if isinstance(entry, list) and entry and all(isinstance(text, str) for text in entry):
        return {"caption": entry[0], "captions": entry}
    return entry


def closed_prefix(text: str) -> str | None:
    """The beginning of a JSON document as one of its own, without what is not whole in it.

    None where nothing of it is.
    """
    stack: list[str] = []
    cut: tuple[int, str] | None = None
    inside, escaped = False, False
    for place, character in enumerate(text):
        if inside:
            inside, escaped = escaped or character != '"', character == "\\" and not escaped
        elif character == '"':
            inside = True
        elif character in "[{":
            stack.append("]" if character == "[" else "}")
        elif character in "]}" and stack:
            stack.pop()
        elif character == "," and stack:
            cut = place, "".join(reversed(stack))
    return text[: cut[0]] + cut[1] if cut else None


def beginning(text: str, *, whole: bool) -> Any:
    """The value of a JSON document, or of as much of its beginning as is given.

    Raises:
        ValueError: It is not JSON.
    """
    if whole:
        return json.loads(text)
    closed = closed_prefix(text)
    if closed is None:
        raise ValueError("nothing in the beginning is whole")
    return json.loads(closed)


def _is_keyed(value: dict[str, Any]) -> bool:
    """Whether the keys are images' names."""
    return bool(value) and all(is_image(str(key)) for key in list(value)[:8])


def _is_rows(key: str, inner: Any) -> bool:
    return (
        isinstance(inner, list)
        and bool(inner)
        and all(isinstance(entry, dict) for entry in inner[:8])
        and not is_row_key(key)
    )
