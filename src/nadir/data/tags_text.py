"""Tag files: from whatever people write beside an image to booru tags with classes.

Text files hold tags between commas or line breaks, or, when there is no comma, between any white
space. JSON files hold `{"tags": [...]}` or a list per class: `{"general": [...], "artist": [...]}`
(`tag_string_general` and the like, as boorus write them, too). A tag's class comes from the file,
else from a prefix (`artist:someone`), else from the vocabulary that ships with the project, else it
is `general`.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

CLASSES = ("general", "character", "copyright", "artist", "meta")
"""The tag classes of boorus."""
MAX_BYTES = 1 << 20
"""Longest tag file that is read."""
MAX_TAG_CHARACTERS = 120
"""A longer "tag" is a sentence; it counts as malformed."""
RULES = 1
"""Raise when parsing changes, so that remembered tags are made anew."""

_ALIASES = {"char": "character", "series": "copyright", "species": "general"}
_SPACES = re.compile(r"\s+")
_STRING_KEY = "tag_string_"


class TagsFileError(ValueError):
    """A tag file that cannot be understood; the text says why."""


@dataclass(frozen=True)
class TagFile:
    """The tags of one file.

    Attributes:
        tags: (name, class), each name once, in the file's order; class "" when the file names none.
        written: How many tags the file holds, repetitions included.
        well_formed: How many of them are in the booru form already: lower case, printable, no
            longer than a tag; spaces for underscores are fine.
    """

    tags: tuple[tuple[str, str], ...]
    written: int
    well_formed: int


def parse_tag_file(data: bytes, name: str) -> TagFile:
    """Read a tag file.

    Args:
        data: Its bytes.
        name: Its name; `.json` is read as JSON, anything else as text.

    Raises:
        TagsFileError: Too long, not UTF-8 (or UTF-16 with a byte order mark), or no such JSON.
    """
    if len(data) > MAX_BYTES:
        raise TagsFileError(f"the tag file has more than {MAX_BYTES:,} bytes")
    text = _decode(data)
    written = list(_from_json(text) if name.lower().endswith(".json") else _from_text(text))
    tags: dict[str, str] = {}
    for raw, given in written:
        tag, prefix = _split_class(normalise_tag(raw))
        if tag and not tags.get(tag):
            tags[tag] = given or prefix
    return TagFile(tuple(tags.items()), len(written), sum(_is_well_formed(w) for w, _ in written))


def normalise_tag(text: str) -> str:
    r"""One tag in booru form: lower case, NFC, underscores for white space, no control characters.

    Commas part tags in captions, so they count as white space. Prompt escapes (`\(`) are undone.
    The result may be empty.
    """
    text = unicodedata.normalize("NFC", text).replace("\\(", "(").replace("\\)", ")")
    text = "".join(c for c in text if c.isspace() or not unicodedata.category(c).startswith("C"))
    tag = _SPACES.sub("_", text.replace(",", " ").strip()).lower()
    return tag if tag.strip("_") else ""


def _decode(data: bytes) -> str:
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TagsFileError(f"byte {error.start} of the tag file is not UTF-8") from error


def _from_text(text: str) -> Iterable[tuple[str, str]]:
    parts = re.split(r"[,\n\r]", text) if "," in text else text.split()
    return ((part.strip(), "") for part in parts if part.strip())


def _from_json(text: str) -> Iterable[tuple[str, str]]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TagsFileError(f"the tag file is not JSON: {error}") from error
    if isinstance(value, dict) and "tags" in value:
        value = value["tags"]
    if isinstance(value, dict):
        known = [(class_of_key(key), tags) for key, tags in value.items()]
        found = [(given, tags) for given, tags in known if given]
        if not found:
            raise TagsFileError('the tag file has neither "tags" nor a list per class')
        return [(tag, given) for given, tags in found for tag, _ in _items(tags)]
    return list(_items(value))


def _items(value: Any) -> Iterable[tuple[str, str]]:
    """Tags of a JSON list of strings or of {name, class}, or of one string."""
    if isinstance(value, str):
        return _from_text(value)
    if not isinstance(value, list):
        raise TagsFileError(f"tags are a list in the tag file, not {type(value).__name__}")
    return [_item(entry) for entry in value]


def _item(entry: Any) -> tuple[str, str]:
    if isinstance(entry, str):
        return entry, ""
    if isinstance(entry, dict) and isinstance(entry.get("name"), str):
        given = entry.get("class", entry.get("category", ""))
        return entry["name"], class_of_key(given) if isinstance(given, str) else ""
    raise TagsFileError(f"a tag in the tag file is neither text nor a name: {str(entry)[:40]}")


def class_of_key(key: str) -> str:
    """The class a JSON key or prefix means; empty when it means none."""
    key = key.lower().removeprefix(_STRING_KEY).removesuffix("_tags")
    key = _ALIASES.get(key, key)
    return key if key in CLASSES else ""


def _split_class(tag: str) -> tuple[str, str]:
    prefix, colon, rest = tag.partition(":")
    if colon and prefix == "rating":
        return tag, "meta"
    given = class_of_key(prefix) if colon else ""
    rest = rest.strip("_")
    # `:d` and `re:zero` have colons of their own.
    return (rest, given) if given and rest else (tag, "")


def _is_well_formed(raw: str) -> bool:
    return (
        0 < len(raw) <= MAX_TAG_CHARACTERS
        and raw == raw.lower()
        and raw.isprintable()
        and "\N{REPLACEMENT CHARACTER}" not in raw
    )
