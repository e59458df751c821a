"""Tags in JSON: flat lists, lists by class, objects and scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nadir.data.tag_forms.classes import (
    LIST_KEY,
    RATING,
    STRING_KEY,
    class_of_name,
    classes_of_numbers,
    is_classless,
    kind_of_key,
    number_of,
)
from nadir.data.tag_forms.ratings import is_rating, rating_of_value, rating_scores, score_of
from nadir.data.tag_forms.text import split_text
from nadir.data.tag_forms.words import normalise_tag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    Entry = tuple[str, str]
    """A tag as it is written, and its class: "" for none, or `DROPPED`."""

_NAME_KEYS = ("name", "tag", "tag_name", "names", "label", "tagName", "name_en")
_CLASS_KEYS = ("class", "category", "type", "category_name", "type_name", "category_id")
_RATING_KEYS = frozenset({RATING, "tags_rating", "tag_string_rating", "rating_tags"})
_DEPTH = 3


@dataclass
class Record:
    """What JSON says about an image.

    Attributes:
        tags: Of its flat lists, as written.
        text: What they were parted from, where that was one text.
        classed: Of its lists by class; their class is what counts.
        rating: As a word; None when it gives none.
        score: The votes' sum; None when it gives none.
        year: Of the post; None when it gives none.
        record_id: The source's own number or name of the image; None when it gives none.
        captions: (key, text) of sentences beside tags.
        fault: Of a value that ought to hold tags, and does not.
        has_keys: Whether it has any key of tags at all.
    """

    tags: list[Entry] = field(default_factory=list)
    text: str = ""
    classed: list[Entry] = field(default_factory=list)
    rating: str | None = None
    score: int | None = None
    year: int | None = None
    record_id: str | None = None
    captions: list[tuple[str, str]] = field(default_factory=list)
    fault: str | None = None
    has_keys: bool = False


def read_flat(record: Record, given: Any, origin: str, *, spaced: bool) -> None:
    """Tags under `tags` or `tag_string`, which may be parted by class."""
    if isinstance(given, str):
        record.has_keys = True
        record.text = record.text or given
        record.tags += [(raw, "") for raw in (_spaced(given) if spaced else split_text(given))]
    elif isinstance(given, list):
        record.has_keys = True
        read_list(record, given, origin)
    elif isinstance(given, dict):
        record.has_keys = True
        _read_scored(record, given)
        read_classes(record, given, inside=_DEPTH)
    else:
        record.fault = f"tags are a list in the tag file, not {type(given).__name__}"


def read_list(record: Record, given: list[Any], origin: str) -> None:
    """Tags of a list: text, numbers, pairs of name and score, objects with a name."""
    numbers: list[tuple[str, int]] = []
    for entry in given:
        if isinstance(entry, str):
            record.tags.append((entry, ""))
        elif isinstance(entry, dict):
            _read_object(record, entry, numbers)
        elif isinstance(entry, list) and entry and isinstance(entry[0], str) and len(entry) > 1:
            record.tags.append((entry[0], class_of_name(entry[1])))
        elif isinstance(entry, int) and not isinstance(entry, bool) and abs(entry) < 1 << 63:
            record.tags.append((str(entry), ""))
        elif entry is not None:
            record.fault = _no_tag(entry)
    known = classes_of_numbers({number for _, number in numbers}, origin)
    for name, number in numbers:
        kind = known.get(number, "")
        if kind == RATING:
            record.rating = record.rating or rating_of_value(name, origin)
        else:
            record.tags.append((name, kind))


def _read_object(record: Record, entry: dict[Any, Any], numbers: list[tuple[str, int]]) -> None:
    """A {name, class} of a list, or {tag: score} as taggers give it."""
    name = _name(entry)
    if name is None:
        if not _read_scored(record, entry):
            record.fault = _no_tag(entry)
        return
    given = next((entry[key] for key in _CLASS_KEYS if entry.get(key) is not None), "")
    given = given.get("name") if isinstance(given, dict) else given
    number = number_of(given)
    if number is not None:
        numbers.append((name, number))
    elif isinstance(given, str) and given.strip().lower() == RATING:
        record.rating = record.rating or rating_of_value(name)
    else:
        record.tags.append((name, class_of_name(given)))


def _name(entry: dict[Any, Any]) -> str | None:
    """The name of a tag that is an object; the first of several."""
    for key in _NAME_KEYS:
        given = entry.get(key)
        given = given[0] if isinstance(given, list) and given else given
        if isinstance(given, str):
            return given
    return None


def _read_scored(record: Record, given: dict[Any, Any], kind: str = "") -> bool:
    """The keys of {tag: score}; False when it holds none."""
    if scores := rating_scores(given):
        record.rating = record.rating or max(scores, key=lambda word: scores[word])
        return True
    scored = [key for key, score in given.items() if score is True or score_of(score) is not None]
    scored = [key for key in scored if isinstance(key, str)]
    ratings = {key: given[key] for key in scored if is_rating(normalise_tag(key))}
    if ratings and record.rating is None:
        record.rating = rating_of_value(ratings)
    target = record.classed if kind else record.tags
    target += [(key, kind) for key in scored if key not in ratings]
    return bool(scored)


def read_classes(record: Record, post: dict[Any, Any], *, inside: int = 0) -> None:
    """Tags under keys that name their class.

    Args:
        record: Gets them.
        post: With such keys among others.
        inside: Not 0 where it holds nothing but lists of tags, whatever their keys, and as deep.
    """
    found: list[tuple[str, str, Any]] = []
    for key, given in post.items():
        if not isinstance(key, str) or not isinstance(given, str | list | dict):
            continue
        kind = kind_of_key(key)
        if key.lower() in _RATING_KEYS and (inside or key != RATING):
            record.rating = record.rating or rating_of_value(given)
            continue
        if kind is None and inside and isinstance(given, list):
            kind = ""
        if kind is not None:
            found.append((kind, key.lower(), given))
        elif inside and isinstance(given, dict):
            read_classes(record, given, inside=inside - 1)
    for kind, key, given in found:
        _read_class(record, kind, key, given, inside=bool(inside))


def _read_class(record: Record, kind: str, key: str, given: Any, *, inside: bool) -> None:
    has_affix = key.startswith((STRING_KEY, LIST_KEY))
    if isinstance(given, dict):
        # Scores have a fraction; objects with numbers in them are something else.
        scores = [score_of(each) for each in given.values()]
        sound = all(score is not None and score <= 1 for score in scores)
        if given and sound and (inside or _has_fraction(given)):
            record.has_keys = True
            _read_scored(record, given, kind)
        elif not kind and not inside:
            read_classes(record, given, inside=_DEPTH)
        return
    if isinstance(given, str):
        if not kind and not (has_affix and is_classless(key)):
            return
        entries = _spaced(given) if has_affix else _bare(given, record)
    else:
        entries = list(_names(given))
        if given and not entries:
            return
    record.has_keys = True
    record.classed += [(raw, kind) for raw in entries]


def _has_fraction(given: dict[Any, Any]) -> bool:
    return any(
        isinstance(each, float) or (isinstance(each, str) and "." in each)
        for each in given.values()
    )


def _names(given: Iterable[Any]) -> Iterator[str]:
    for entry in given:
        if isinstance(entry, str):
            yield entry
        elif isinstance(entry, dict):
            name = _name(entry)
            yield from () if name is None else (name,)
        elif isinstance(entry, list) and entry and isinstance(entry[0], str):
            yield entry[0]


def _bare(given: str, record: Record) -> list[str]:
    """The tags of a string under a bare name of a class: several, or the one name of an artist."""
    if given.strip().isdigit() or "://" in given:
        # The number or address of a page, not a name.
        return []
    entries = split_text(given)
    if len(entries) < 2 or not record.tags or "," in given or "\n" in given:
        return entries
    known = {normalise_tag(raw) for raw, _ in record.tags}
    return entries if all(normalise_tag(raw) in known for raw in entries) else [given.strip()]


def _spaced(given: str) -> list[str]:
    """The tags of a booru's string, in which brackets and bars are parts of them."""
    return split_text(given) if "," in given or "\n" in given else given.split()


def _no_tag(entry: Any) -> str:
    return f"a tag in the tag file is neither text nor a name: {str(entry)[:40]}"
