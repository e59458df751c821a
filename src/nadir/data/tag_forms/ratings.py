"""Ratings in every form that boorus, taggers and captions write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from nadir.data.tag_forms.words import MAX_TAG_CHARACTERS, normalise_tag

if TYPE_CHECKING:
    from collections.abc import Iterable

RATINGS = {"g": "general", "s": "sensitive", "q": "questionable", "e": "explicit"}
"""What boorus' letters mean. `s` was `safe` before 2022; the stricter reading holds."""
_SAFE_ORIGINS = frozenset({"e621", "moebooru", "sankaku"})
_ORDER = ("general", "safe", "sensitive", "suggestive", "questionable", "explicit")
_NUMBERS = ("general", "sensitive", "questionable", "explicit")
_OTHER = {
    "r-18": "explicit",
    "r-18g": "explicit",
    "r18": "explicit",
    "r18g": "explicit",
    "r_18": "explicit",
    # HakuBooru writes it for Danbooru's `questionable`, and `explicit` besides for that.
    "nsfw": "questionable",
    "sfw": "safe",
}
_WORDS = {**{word: word for word in _ORDER}, **_OTHER}
_PREFIX = re.compile(r"rating[_:=-]+")
_NUMBER = re.compile(r"\d{1,9}(?:\.\d{1,40})?(?:[eE][+-]?\d{1,2})?")
_SUFFIX = re.compile(r"_\([^()]*\)$")


def rating_word(text: str, origin: str = "") -> str:
    """A rating as it stands in the manifest, a booru's letter or number as its word; "" for none.

    Args:
        text: As written.
        origin: The kind of site, of which depends what `s` means.
    """
    word = normalise_tag(text)[:MAX_TAG_CHARACTERS]
    if found := _PREFIX.match(word):
        word = word[found.end() :]
    word = _SUFFIX.sub("", word).strip("_")
    if word == "s" and origin in _SAFE_ORIGINS:
        return "safe"
    if re.fullmatch(r"[0-3](?:\.0*)?", word):
        return _NUMBERS[int(word[0])]
    return RATINGS.get(word) or _WORDS.get(word, word)


def rating_of_value(value: Any, origin: str = "") -> str | None:
    """The rating that a record's value says: a word, letter or number, or scores by word."""
    if isinstance(value, str):
        return rating_word(value, origin) or None
    if isinstance(value, list):
        found = (rating_of_value(each, origin) for each in value if isinstance(each, str | dict))
        return next((word for word in found if word), None)
    if isinstance(value, dict):
        scores = rating_scores(value)
        if scores:
            return max(scores, key=lambda word: scores[word])
        return rating_of_value(value.get("name"), origin) if "name" in value else None
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(4):
        return None
    return _NUMBERS[int(value)]


def rating_scores(value: dict[Any, Any]) -> dict[str, float]:
    """Scores by rating; empty unless every key is a rating and every value a number."""
    scores: dict[str, float] = {}
    for key, given in value.items():
        word = rating_word(key) if isinstance(key, str) else ""
        score = score_of(given)
        if word not in _WORDS or score is None:
            return {}
        scores[word] = max(score, scores.get(word, score))
    return scores


def score_of(given: Any) -> float | None:
    """A confidence, which may be written as text; None for anything else."""
    if isinstance(given, str):
        return float(given) if _NUMBER.fullmatch(given) else None
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    return given


def rating_in_tags(tags: Iterable[str]) -> str | None:
    """The rating that tags say, `rating:` tags before bare words; the strictest of several."""
    found: list[str] = []
    bare: list[str] = []
    for tag in tags:
        if tag in _WORDS:
            bare.append(_WORDS[tag])
        elif tag.startswith("rating") and _PREFIX.match(tag):
            word = rating_word(tag)
            if word in _ORDER or (word and tag[6] == ":"):
                found.append(word)
    words = found or bare
    return max(words, key=_strictness) if words else None


def is_rating(tag: str) -> bool:
    """Whether a tag is a bare rating as taggers write it."""
    return tag in _WORDS


def _strictness(word: str) -> int:
    return _ORDER.index(word) if word in _ORDER else -1
