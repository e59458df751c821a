"""Tag files: from what people write beside an image to booru tags with classes.

Text files hold tags between commas and line breaks; one line without a comma holds them between any
white space. JSON files hold `{"tags": [...]}` or a list per class: `{"general": [...],
"artist": [...]}` (`tag_string_general` and the like, as boorus write them, too). Rows of metadata
files are such JSON and may have a `caption` or `text` instead. A tag's class comes from the file,
else from a prefix (`artist:someone`), else from the supplied tag table, else from the vocabulary
that ships with the project, else it is `general`.
"""

from __future__ import annotations

import functools
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nadir.data.paths import is_row

if TYPE_CHECKING:
    from collections.abc import Iterable

CLASSES = ("general", "character", "copyright", "artist", "meta")
"""The tag classes of boorus."""
MAX_BYTES = 1 << 20
"""Longest tag file that is read."""
MAX_TAG_CHARACTERS = 120
"""A longer "tag" is a sentence; it counts as malformed."""
RULES = 3
"""Raise when parsing changes, so that remembered tags are made anew."""

RATINGS = {"g": "general", "s": "sensitive", "q": "questionable", "e": "explicit"}
"""What boorus' letters mean. `s` was `safe` before 2022; the stricter reading holds."""

_ALIASES = {
    "char": "character",
    "series": "copyright",
    "species": "general",
    "contributor": "artist",
    "director": "artist",
    "lore": "meta",
}
_SPACES = re.compile(r"\s+")
_STRING_KEY = "tag_string_"
_CAPTION_KEYS = ("caption", "text", "prompt")
_ROW_KEYS = frozenset({"tags", "tag_string", "rating", "score", "id", *_CAPTION_KEYS})


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
        rating: As a word (`general`, `explicit` ...); None when the file gives none.
        score: The votes' sum; None when the file gives none.
        record_id: The source's own number or name of the image; None when the file gives none.
    """

    tags: tuple[tuple[str, str], ...]
    written: int
    well_formed: int
    rating: str | None = None
    score: int | None = None
    record_id: str | None = None


def parse_tag_file(data: bytes, name: str) -> TagFile:
    """Read a tag file.

    Args:
        data: Its bytes.
        name: Its name in the listing; `.json` and rows of metadata files are JSON, anything else
            is text.

    Raises:
        TagsFileError: Too long, not UTF-8 (or UTF-16 with a byte order mark), or no such JSON.
    """
    if len(data) > MAX_BYTES:
        raise TagsFileError(f"the tag file has more than {MAX_BYTES:,} bytes")
    text, row = _decode(data), is_row(name)
    value = _loaded(text) if row or name.lower().endswith(".json") else None
    written = list(_from_text(text)) if value is None else _from_json(value, row=row)
    tags: dict[str, str] = {}
    for raw, given in written:
        tag, prefix = _split_class(normalise_tag(raw))
        if tag and not tags.get(tag):
            tags[tag] = given or prefix
    return TagFile(
        tuple(tags.items()),
        len(written),
        sum(_is_well_formed(w) for w, _ in written),
        _rating(value, tags),
        _score(value),
        _record(value),
    )


def normalise_tag(text: str) -> str:
    r"""One tag in booru form: lower case, NFC, underscores for white space, no control characters.

    Commas part tags in captions, so they count as white space. Prompt escapes (`\(`) are undone.
    The result may be empty.
    """
    # A dataset says the same tags again and again; what is longer than a tag is not worth keeping.
    return _cached(text) if len(text) <= MAX_TAG_CHARACTERS else _normalised(text)


def read_tag(text: str) -> str:
    """One tag as tag files are read: normalised, without the prefix that names its class.

    The result may be empty.
    """
    return _split_class(normalise_tag(text))[0]


def _normalised(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    text = "".join(c for c in text if c.isspace() or not unicodedata.category(c).startswith("C"))
    # After what is not seen has gone, which may have stood between the two.
    text = text.replace("\\(", "(").replace("\\)", ")")
    tag = _SPACES.sub("_", text.replace(",", " ").strip()).lower()
    return tag if tag.strip("_") else ""


_cached = functools.lru_cache(maxsize=1 << 16)(_normalised)


def _decode(data: bytes) -> str:
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TagsFileError(f"byte {error.start} of the tag file is not UTF-8") from error


def _from_text(text: str) -> Iterable[tuple[str, str]]:
    parts = re.split(r"[,\n\r]", text.strip())
    # A lone caption of booru tags; in several lines or with commas, spaces are parts of tags.
    parts = parts if len(parts) > 1 else text.split()
    return ((part.strip(), "") for part in parts if part.strip())


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TagsFileError(f"the tag file is not JSON: {error}") from error


def _from_json(value: Any, *, row: bool) -> list[tuple[str, str]]:
    if not isinstance(value, dict):
        return list(_items(value))
    kinds = [_by_class(value, strings=True, row=row), _plain(value, "tags")]
    kinds += [_by_class(value, strings=False, row=row), _plain(value, "tag_string")]
    if row:
        kinds += [_plain(value, key) for key in _CAPTION_KEYS]
    elif all(found is None for found in kinds):
        raise TagsFileError('the tag file has neither "tags" nor a list per class')
    # Some boorus give every key, most of them empty.
    return next((found for found in kinds if found), [])


def _plain(value: dict[str, Any], key: str) -> list[tuple[str, str]] | None:
    """The tags under a key, which may be parted by class; None without the key."""
    inside = value.get(key)
    if isinstance(inside, dict):
        return _by_class(inside, strings=False, row=False)
    return None if inside is None else list(_items(inside))


def _by_class(value: dict[str, Any], *, strings: bool, row: bool) -> list[tuple[str, str]] | None:
    """Tags under keys that name their class; None without such a key."""
    known = [
        (class_of_key(key), tags)
        for key, tags in value.items()
        if key.startswith(_STRING_KEY) == strings and not (row and not isinstance(tags, str | list))
    ]
    found = [(given, tags) for given, tags in known if given and tags is not None]
    if not found:
        return None
    return [(tag, given) for given, tags in found for tag, _ in _items(tags)]


def is_row_key(key: Any) -> bool:
    """True for a key of a metadata row that says something about the image."""
    return isinstance(key, str) and (
        key in _ROW_KEYS or key.startswith(_STRING_KEY) or bool(class_of_key(key))
    )


def _rating(value: Any, tags: Iterable[str]) -> str | None:
    """The row's own rating, else that of a `rating:` tag; a booru's letter becomes its word."""
    given = value.get("rating") if isinstance(value, dict) else None
    if not isinstance(given, str) or not given.strip():
        prefix = "rating:"
        given = next((tag.removeprefix(prefix) for tag in tags if tag.startswith(prefix)), "")
    return rating_word(given) or None


def rating_word(text: str) -> str:
    """A rating as it stands in the manifest, a booru's letter as its word; "" for none."""
    word = normalise_tag(text)[:MAX_TAG_CHARACTERS]
    return RATINGS.get(word, word)


def _score(value: Any) -> int | None:
    given = value.get("score") if isinstance(value, dict) else None
    if isinstance(given, dict):
        given = given.get("total")
    if isinstance(given, str) and re.fullmatch(r"-?\d{1,9}", given):
        return int(given)
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    # Also false for what is not a number.
    return int(given) if -1e9 < given < 1e9 else None


def _record(value: Any) -> str | None:
    given = value.get("id") if isinstance(value, dict) else None
    if isinstance(given, int) and not isinstance(given, bool) and abs(given) < 1 << 63:
        return str(given)
    return (normalise_tag(given)[:200] or None) if isinstance(given, str) else None


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
    key = key.lower().removeprefix(_STRING_KEY).removeprefix("tags_").removesuffix("_tags")
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
