"""JSON about one image: a tag file of its own, or a row of a metadata file."""

from __future__ import annotations

import ast
import contextlib
import functools
import json
import re
from typing import Any

from nadir.data.tag_forms.classes import (
    HINTS,
    LIST_KEY,
    ORIGIN,
    ORIGIN_KEYS,
    STRING_KEY,
    kind_of_key,
    origin_of,
)
from nadir.data.tag_forms.dates import DATE_KEYS, year_of
from nadir.data.tag_forms.lists import Record, read_classes, read_flat, read_list
from nadir.data.tag_forms.ratings import rating_of_value
from nadir.data.tag_forms.sentences import is_all_sentences
from nadir.data.tag_forms.text import split_text
from nadir.data.tag_forms.words import normalise_tag

CAPTION_KEYS = ("caption", "text", "prompt")
"""Keys of captions; where nothing else holds tags, the first of them does."""
_FLAT = ("tags", "tag_string")
_QUOTED = ("['", '["', "{'", '{"', "[[", "[{")
_MOST_BRACKETS = 1000
# Records of other images within a record.
_RELATED = frozenset({"parent", "children", "relationships", "related", "similar"})
_DEPTH = 3


class TagsFileError(ValueError):
    """A tag file that cannot be understood; the text says why."""


def read_record(value: Any) -> Record:
    """Everything that JSON says about an image; nothing of another form costs what is understood.

    Args:
        value: As `json.loads` gives it.
    """
    record = Record()
    if isinstance(value, list) and len(value) == 1 and _is_post(value[0]):
        value = value[0]
    if isinstance(value, dict):
        _read_post(record, value, _DEPTH)
        _use_captions(record)
    elif isinstance(value, list):
        record.has_keys = True
        read_list(record, value, "")
    else:
        record.fault = f"tags are a list in the tag file, not {type(value).__name__}"
    return record


def short_row(values: dict[str, Any]) -> dict[str, Any]:
    """What a row says about its image, and the kind of site it came from where that is known."""
    kept, others, has_origin = _row_keys(tuple(values))
    short = {key: value for key in kept if (value := values[key]) is not None}
    for key in others:
        if isinstance(values[key], dict) and _is_nested(key, values[key]):
            short[key] = values[key]
    if has_origin and (origin := origin_of(values)):
        short[ORIGIN] = origin
    return short


# The rows of a table have the same keys.
@functools.lru_cache(maxsize=1 << 10)
def _row_keys(keys: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...], bool]:
    """Which keys are kept, which others are as records, and whether any may tell the site."""
    kept = tuple(key for key in keys if _is_kept(key))
    others = tuple(key for key in keys if not _is_kept(key))
    return kept, others, not ORIGIN_KEYS.isdisjoint(keys)


def is_row_key(key: Any) -> bool:
    """True for a key of a metadata row that says something about the image or its site."""
    return _is_kept(key) or (isinstance(key, str) and key in HINTS)


@functools.lru_cache(maxsize=1 << 10)
def _is_kept(key: Any) -> bool:
    if not isinstance(key, str):
        return False
    key = key.lower()
    return key in _ROW_KEYS or kind_of_key(key) is not None


_ROW_KEYS = frozenset({*_FLAT, "rating", "score", "id", "x_restrict", *CAPTION_KEYS, *DATE_KEYS})


def _is_post(value: Any) -> bool:
    return isinstance(value, dict) and any(
        isinstance(key, str) and (key in _FLAT or key.startswith((STRING_KEY, LIST_KEY)))
        for key in value
    )


def unpacked(given: Any) -> Any:
    """A list or object that was written as text, as in cells of CSV, JSON's way or Python's."""
    if not isinstance(given, str) or not given.startswith(_QUOTED) or given[-1] not in "]}":
        return given
    if sum(given.count(bracket) for bracket in "[{(") > _MOST_BRACKETS:
        return given
    for load in (json.loads, ast.literal_eval):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
            found = load(given)
            return found if isinstance(found, list | dict) else given
    return given


def _read_post(record: Record, value: dict[Any, Any], depth: int) -> None:
    post = {key.lower(): unpacked(given) for key, given in value.items() if isinstance(key, str)}
    origin = origin_of(post)
    for key in _FLAT:
        if post.get(key) is not None:
            read_flat(record, post[key], origin, spaced=key == "tag_string")
    read_classes(record, post)
    record.rating = record.rating or rating_of_value(post.get("rating"), origin)
    if record.rating is None and post.get("x_restrict") in (1, 2, "1", "2"):
        record.rating = "explicit"
    record.score = _score(post.get("score")) if record.score is None else record.score
    record.year = record.year or next(filter(None, (year_of(post.get(k)) for k in DATE_KEYS)), None)
    record.record_id = record.record_id or _record_id(post.get("id"))
    for key in CAPTION_KEYS:
        record.captions += _captions(key, post.get(key))
    if depth and not record.classed:
        for key, given in post.items():
            if isinstance(given, dict) and _is_nested(key, given):
                _read_post(record, given, depth - 1)


def _is_nested(key: str, given: dict[Any, Any]) -> bool:
    """Whether an object within a record is one of the same image."""
    if key in _FLAT or key in _RELATED:
        return False
    return _is_post(given) or any(_is_post(each) for each in given.values())


def _captions(key: str, given: Any) -> list[tuple[str, str]]:
    texts = given if isinstance(given, list) else [given]
    found = [text.strip() for text in texts if isinstance(text, str) and text.strip()]
    # A lone surrogate, legal in JSON, can stand in no table.
    return [(key, text.encode("utf-8", "replace").decode()) for text in found]


def _use_captions(record: Record) -> None:
    """Where there are no tags, the captions of the first key hold them."""
    if record.tags or record.classed or not record.captions:
        return
    record.has_keys = True
    first = record.captions[0][0]
    texts = [text for key, text in record.captions if key == first]
    record.captions = [
        (key, text) for key, text in record.captions if key != first or is_all_sentences(text)
    ]
    if len(texts) == 1:
        record.text = texts[0]
        record.tags = [(raw, "") for raw in split_text(texts[0])]
    else:
        parts = (split_text(text) if "," in text else [text] for text in texts)
        record.tags = [(raw, "") for part in parts for raw in part]


def _score(given: Any) -> int | None:
    if isinstance(given, dict):
        given = given.get("total")
    if isinstance(given, str) and re.fullmatch(r"-?\d{1,9}", given):
        return int(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    # Also false for what is not a number.
    return int(given) if -1e9 < given < 1e9 else None


def _record_id(given: Any) -> str | None:
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < 1 << 63:
        return str(given)
    return (normalise_tag(given)[:200] or None) if isinstance(given, str) else None
