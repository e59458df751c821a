"""What keys, prefixes and numbers of other programs say about a tag's class."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CLASSES = ("general", "character", "copyright", "artist", "meta")
"""The tag classes of boorus."""
DROPPED = "dropped"
"""Stands where a class would for tags that say nothing about the image (e621's `invalid`)."""
RATING = "rating"
"""Stands where a class would for a rating among tags (9 in the tables of taggers)."""
ORIGIN = "::origin"
"""Key under which a shortened row keeps the site it came from."""

STRING_KEY, LIST_KEY = "tag_string_", "tags_"
# A tag that several lists hold is of the first of these classes, whatever the lists' order.
_RANKS = {
    kind: rank
    for rank, kind in enumerate(
        (DROPPED, "character", "copyright", "artist", "meta", "general", "")
    )
}
_AFFIX = re.compile(rf"{STRING_KEY}|{LIST_KEY}")
_NAMES = {
    **{name: name for name in CLASSES},
    "char": "character",
    "characters": "character",
    "series": "copyright",
    "copyrights": "copyright",
    "species": "general",
    "artists": "artist",
    "contributor": "artist",
    "director": "artist",
    "lore": "meta",
    "metadata": "meta",
    "invalid": DROPPED,
}
_PREFIXES = {
    **{name: kind for name, kind in _NAMES.items() if kind != DROPPED},
    "creator": "artist",
    "mangaka": "artist",
    "studio": "copyright",
    "circle": "copyright",
    "game": "copyright",
    "oc": "character",
    "person": "character",
    # These say of what kind a plain tag is.
    "theme": "",
    "medium": "",
    "genre": "",
    "title": DROPPED,
    "page": DROPPED,
    "source": DROPPED,
}
# Lists of tags that are of no class here. Under other unknown names only lists are taken for tags.
_CLASSLESS = frozenset(
    ("studio", "circle", "genre", "medium", "faults", "deprecated", "theme", "idol", "style")
)
# gallery-dl's search, e621's locks.
_NO_TAGS = frozenset({"search_tags", "locked_tags"})

_DANBOORU = {0: "general", 1: "artist", 3: "copyright", 4: "character", 5: "meta", 9: RATING}
_E621 = {
    **_DANBOORU,
    -1: DROPPED,  # as lists for completion write 6
    2: "artist",  # contributor
    5: "general",  # species
    6: DROPPED,
    7: "meta",
    8: "meta",  # lore
}
_NUMBERS = {
    "e621": _E621,
    "moebooru": {**_DANBOORU, 5: "", 6: ""},  # circle, faults
    "sankaku": {**_DANBOORU, 2: "", 5: "", 8: "", 9: "meta"},  # studio, genre, medium
}
_SITES = {
    "danbooru": "danbooru",
    "e621": "e621",
    "e926": "e621",
    "e6ai": "e621",
    "yandere": "moebooru",
    "yande": "moebooru",
    "konachan": "moebooru",
    "sakugabooru": "moebooru",
    "lolibooru": "moebooru",
    "sankaku": "sankaku",
    "sankakucomplex": "sankaku",
    "idolcomplex": "sankaku",
}
_HOST = re.compile(rf"https?://(?:[\w-]+\.)*({'|'.join(_SITES)})\.[a-z]{{2,4}}(?:[/:?]|$)")
_SHAPES = {
    "change_seq": "e621",
    "tags_species": "e621",
    "tags_lore": "e621",
    "tags_contributor": "e621",
    "is_shown_in_index": "moebooru",
    "frames_pending_string": "moebooru",
}
"""Keys that only one origin's records have."""
HINTS = frozenset({"category", *_SHAPES})
"""Keys of a record that may say where it came from."""
ORIGIN_KEYS = frozenset({ORIGIN, "tags", "file", "file_url", *HINTS})
"""Every key that `origin_of` looks at."""
_E621_CLASSES = frozenset({"species", "invalid", "lore", "contributor"})


def class_of_key(key: str) -> str:
    """The class that a JSON key means; empty when it means none."""
    found = kind_of_key(key)
    return found if found in CLASSES else ""


@functools.lru_cache(maxsize=1 << 10)
def kind_of_key(key: str) -> str | None:
    """The class that a JSON key means, or `DROPPED`; "" for tags without one, None for no tags."""
    key = key.lower()
    if key in _NO_TAGS or key == "metadata":
        return None
    bare = _AFFIX.sub("", key, count=1) if _AFFIX.match(key) else key.removesuffix("_tags")
    found = _NAMES.get(bare)
    if found is None and (bare in _CLASSLESS or (bare and key.startswith((STRING_KEY, LIST_KEY)))):
        return ""
    return found


def stronger(one: str, other: str) -> str:
    """Which of two classes a tag has that lists of both hold."""
    return min(one, other, key=_RANKS.__getitem__)


def is_classless(key: str) -> bool:
    """Whether a key is a known name of a list of tags without a class of boorus."""
    return _AFFIX.sub("", key.lower(), count=1) in _CLASSLESS


def class_of_prefix(prefix: str) -> str | None:
    """The class that a tag's prefix means, or `DROPPED`; "" for none, None for no such prefix."""
    return _PREFIXES.get(prefix)


def class_of_name(given: Any) -> str:
    """The class that a word means, as tables and lists of tags have it; empty for none."""
    return _NAMES.get(given.strip().lower(), "") if isinstance(given, str) else ""


def number_of(given: Any) -> int | None:
    """The number of a class, however it is written: 4, 4.0, "4"."""
    if isinstance(given, str):
        found = re.fullmatch(r"\s*(-1|\d{1,3})(?:\.0*)?\s*", given)
        return int(found[1]) if found else None
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return int(given) if -1 <= given < 1000 and given == int(given) else None


def classes_of_numbers(found: Iterable[int], origin: str = "") -> Mapping[int, str]:
    """What the numbers of classes mean.

    Args:
        found: All that occur; 6, 7, 8 and -1 are e621's alone.
        origin: The site, where it is known.
    """
    if origin in _NUMBERS:
        return _NUMBERS[origin]
    return _DANBOORU if origin == "danbooru" or not {-1, 6, 7, 8}.intersection(found) else _E621


def origin_of(record: Mapping[str, Any]) -> str:
    """The kind of site that a record came from; "" when nothing says it."""
    given = record.get(ORIGIN)
    if isinstance(given, str):
        return given
    given = record.get("category")
    if isinstance(given, str) and given.lower() in _SITES:
        return _SITES[given.lower()]
    for key, site in _SHAPES.items():
        if key in record:
            return site
    tags, file = record.get("tags"), record.get("file")
    if isinstance(tags, dict) and not _E621_CLASSES.isdisjoint(tags):
        return "e621"
    places = [record.get("file_url"), file.get("url") if isinstance(file, dict) else None]
    return next((site for place in places if (site := _site_of_address(place))), "")


def _site_of_address(address: Any) -> str:
    found = _HOST.match(address[:200]) if isinstance(address, str) else None
    return _SITES[found[1]] if found else ""
