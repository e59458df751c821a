"""One tag as it is written, and as the manifest has it."""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from html.entities import html5
from typing import NamedTuple

from nadir.data.tag_forms.classes import DROPPED, class_of_prefix

MAX_TAG_CHARACTERS = 120
"""A longer "tag" is a sentence; it counts as malformed."""

_SPACES = re.compile(r"\s+")
_ESCAPE = re.compile(r"\\([\\()\[\]{}])")
_ENTITY = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
_PASSES = 8
# An unescaped bracket at the beginning of a word, with a number behind the last colon.
WEIGHT = re.compile(
    r"(?<![^\s,|(\[{])\(((?:\\.|[^()\\]|\([^()]*\))*?)\s*:\s*[+-]?(?:\d+\.?\d*|\.\d+)\s*\)"
)
"""A weight of prompts, `(x:1.2)`."""
_RATING = re.compile(r"rating[_=-](?:general|safe|sensitive|questionable|explicit)")


class Word(NamedTuple):
    """A tag as it was written.

    Attributes:
        tag: In booru form, without a prefix that names its class; "" for what is no tag.
        kind: The class that its prefix names; "" for none.
        well_formed: Whether it was in booru form already, spaces for underscores aside.
    """

    tag: str
    kind: str
    well_formed: bool


def normalise_tag(text: str) -> str:
    r"""One tag in booru form: lower case, NFC, underscores for white space, no control characters.

    Commas part tags in captions, so they count as white space. HTML entities (`&lt;`) and prompt
    escapes (`\(`, `\\`) are undone, however often they were made. The result may be empty.
    """
    # A dataset says the same tags again and again; what is longer than a tag is not worth keeping.
    return _cached(text) if len(text) <= MAX_TAG_CHARACTERS else _normalised(text)


def read_word(raw: str) -> Word:
    """One tag as tag files are read."""
    return _cached_word(raw) if len(raw) <= MAX_TAG_CHARACTERS else _word(raw)


def _word(raw: str) -> Word:
    plain = raw
    if ":" in raw and raw[-1:] == ")":
        plain = without_weights(raw)
    tag, kind = _split_class(normalise_tag(plain))
    return Word(tag, kind, _is_well_formed(raw))


def without_weights(text: str) -> str:
    """Text without the weights of prompts: `(long hair:1.2)` is `long hair`."""
    for _ in range(_PASSES):
        text, changed = WEIGHT.subn(_weighted, text)
        if not changed:
            break
    return text


def _weighted(found: re.Match[str]) -> str:
    # A ratio such as (16:9) has no letter.
    return found[1] if any(c.isalpha() for c in found[1]) or len(found[1]) < 1 else found[0]


def _normalised(text: str) -> str:
    text = _once(text)
    if "&" not in text and "\\" not in text:
        return text
    for _ in range(_PASSES):
        again = _once(text)
        if again == text:
            return text
        text = again
    # Nobody encodes that often; what is left of it must not change when it is read again.
    return _once(text.replace("&", " ").replace("\\", " "))


def _once(text: str) -> str:
    if "&" in text:
        text = _ENTITY.sub(_character, text)
    if "\\" in text:
        text = _ESCAPE.sub(r"\1", text)
    if not (text.isascii() and text.isprintable()):
        text = unicodedata.normalize("NFC", text)
        text = "".join(
            c for c in text if c.isspace() or not unicodedata.category(c).startswith("C")
        )
    tag = _SPACES.sub("_", text.replace(",", " ").strip()).lower()
    return tag if tag.strip("_") else ""


_cached = functools.lru_cache(maxsize=1 << 16)(_normalised)
_cached_word = functools.lru_cache(maxsize=1 << 16)(_word)


def _character(found: re.Match[str]) -> str:
    """What an entity stands for; one that is not known stays."""
    name = found[1]
    return html.unescape(found[0]) if name[0] == "#" else html5.get(f"{name};", found[0])


def _split_class(tag: str) -> tuple[str, str]:
    prefix, colon, rest = tag.partition(":")
    if not colon:
        return tag, "meta" if tag.startswith("rating") and _RATING.fullmatch(tag) else ""
    rest = rest.strip("_")
    if prefix == "rating":
        return f"rating:{rest}", "meta"
    given = class_of_prefix(prefix)
    # `:d` and `re:zero` have colons of their own.
    if given is None or not rest:
        return tag, ""
    return ("", "") if given == DROPPED else (rest, given)


def _is_well_formed(raw: str) -> bool:
    return (
        0 < len(raw) <= MAX_TAG_CHARACTERS
        and raw == raw.lower()
        and raw.isprintable()
        and "\N{REPLACEMENT CHARACTER}" not in raw
    )
