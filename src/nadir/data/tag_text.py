"""Tag files: from what people and programs write about an image to booru tags with classes.

Text files hold tags between commas and line breaks; one line without a comma holds them between any
white space. JSON files and rows of metadata files hold `tags`, lists by class (`general`,
`tags_artist`, `tag_string_meta` ...), or both, or else a `caption`, `text` or `prompt`. A tag's
class is that of the list that holds it, else its prefix's (`artist:someone`), else the supplied tag
table's, else the vocabulary's that ships with the project, else it is `general`. What several files
say about one image is put together by `parse_sources`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from nadir.data.paths import is_row
from nadir.data.tag_forms.classes import CLASSES, DROPPED, class_of_key, class_of_name, stronger
from nadir.data.tag_forms.ratings import RATINGS, rating_in_tags, rating_word
from nadir.data.tag_forms.records import TagsFileError, is_row_key, read_record, short_row
from nadir.data.tag_forms.sentences import is_all_sentences
from nadir.data.tag_forms.text import is_prose, marked_prefix, split_text
from nadir.data.tag_forms.words import MAX_TAG_CHARACTERS, normalise_tag, read_word

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from nadir.data.tag_forms.lists import Record

    Entry = tuple[str, str]

__all__ = [
    "CLASSES",
    "MAX_BYTES",
    "MAX_TAG_CHARACTERS",
    "RATINGS",
    "RULES",
    "TagFile",
    "TagsFileError",
    "class_of_key",
    "class_of_name",
    "is_row_key",
    "normalise_tag",
    "parse_sources",
    "parse_tag_file",
    "rating_word",
    "read_tag",
    "short_row",
]

MAX_BYTES = 1 << 20
"""Longest tag file that is read."""
RULES = 6
"""Raise when parsing changes, so that remembered tags are made anew."""


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
        captions: (kind, text) of sentences beside the tags.
        year: Of the post; None when the file gives none.
        kept: How many of the tags stand before `|||`; None when the file has none.
        dropped: Names that the file holds and that say nothing about the image.
    """

    tags: tuple[tuple[str, str], ...]
    written: int
    well_formed: int
    rating: str | None = None
    score: int | None = None
    record_id: str | None = None
    captions: tuple[tuple[str, str], ...] = ()
    dropped: frozenset[str] = frozenset()
    year: int | None = None
    kept: int | None = None


def parse_tag_file(data: bytes, name: str) -> TagFile:
    """Read a tag file.

    Args:
        data: Its bytes.
        name: Its name in the listing; `.json` and rows of metadata files are JSON, anything else
            is text.

    Raises:
        TagsFileError: Too long, not UTF-8 (or UTF-16 with a byte order mark), or no such JSON.
    """
    text = _decode(data)
    if not _is_json(name):
        return _of_text(text)
    record = _record(text)
    if not record.tags and not record.classed:
        if record.fault:
            raise TagsFileError(record.fault)
        if not record.has_keys and not is_row(name):
            raise TagsFileError('the tag file has neither "tags" nor a list per class')
    return _of_record(record)


def parse_sources(sources: Sequence[tuple[bytes, str]]) -> TagFile:
    """Put together what several files say about one image.

    The list of tags is the first text's that has any, since people edit texts, else the first
    JSON's; a sentence (`a girl in a park`) is no list of tags where there is another. Classes,
    rating, score and id are the JSON's, where it gives them.

    Args:
        sources: Bytes and name of each; of equal kinds the first counts.

    Raises:
        TagsFileError: One of them cannot be read; JSON without tags does no harm beside others.
    """
    if len(sources) == 1:
        return parse_tag_file(*sources[0])
    texts: list[tuple[str, str, TagFile]] = []
    records: list[TagFile] = []
    order: list[TagFile] = []
    for data, name in sources:
        if _is_json(name):
            if len(data) > MAX_BYTES:
                # Beside tags it may be anything, such as an annotation that holds the image.
                continue
            records.append(_of_record(_record(_decode(data))))
            order.append(records[-1])
        else:
            text = _decode(data)
            texts.append((name, text, _of_text(text)))
            order.append(texts[-1][2])
    return _together(order, records, texts)


def _together(
    order: list[TagFile], records: list[TagFile], texts: list[tuple[str, str, TagFile]]
) -> TagFile:
    known = {tag for record in records for tag, _ in record.tags}
    lists = {id(found): found for found in order if found.tags}
    prose = {
        id(found): (_kind(name), text.strip())
        for name, text, found in texts
        if id(found) in lists and _is_sentence(text, found, lists, known)
    }
    chosen = next((f for f in lists.values() if id(f) not in prose), None)
    chosen = chosen or next(iter(lists.values()), TagFile((), 0, 0))
    classes = _classes(found for _, _, found in texts) | _classes(records)
    dropped = frozenset[str]().union(*(record.dropped for record in records))
    tags = tuple((tag, classes.get(tag) or kind) for tag, kind in chosen.tags if tag not in dropped)
    kept = chosen.kept and sum(tag not in dropped for tag, _ in chosen.tags[: chosen.kept])
    prose.pop(id(chosen), None)
    captions = [each for found in records for each in found.captions] + list(prose.values())
    facts = [*records, *(found for _, _, found in texts)]
    return replace(
        chosen,
        tags=tags,
        rating=next((f.rating for f in facts if f.rating), None),
        score=next((f.score for f in facts if f.score is not None), None),
        year=next((f.year for f in facts if f.year), None),
        record_id=next((f.record_id for f in facts if f.record_id), None),
        captions=tuple(dict.fromkeys(captions)),
        kept=kept,
    )


def _classes(files: Iterable[TagFile]) -> dict[str, str]:
    """The class of each tag that has one, whatever the order of the files."""
    classes: dict[str, str] = {}
    for found in files:
        for tag, kind in found.tags:
            if kind:
                classes[tag] = stronger(kind, classes[tag]) if tag in classes else kind
    return classes


def _is_sentence(text: str, own: TagFile, lists: dict[int, TagFile], known: set[str]) -> bool:
    """Whether a text is a sentence beside tags that another file holds."""
    others = known or {tag for f in lists.values() if f is not own for tag, _ in f.tags}
    shared = sum(tag in others for tag, _ in own.tags)
    return bool(others) and 2 * shared < len(own.tags) and is_prose(text, others)


def _kind(name: str) -> str:
    return name.lower().rpartition(".")[2]


def read_tag(text: str) -> str:
    """One tag as tag files are read: normalised, without the prefix that names its class.

    The result may be empty.
    """
    return read_word(text).tag


def _is_json(name: str) -> bool:
    return is_row(name) or name.lower().endswith(".json")


def _decode(data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise TagsFileError(f"the tag file has more than {MAX_BYTES:,} bytes")
    try:
        if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
            return data.decode("utf-16")
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TagsFileError(f"byte {error.start} of the tag file is not UTF-8") from error


def _record(text: str) -> Record:
    return read_record(_loaded(text))


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TagsFileError(f"the tag file is not JSON: {error}") from error


def _of_text(text: str) -> TagFile:
    tags: dict[str, str] = {}
    entries = split_text(text)
    sound = _add(tags, ((raw, "") for raw in entries))
    rating = rating_in_tags(tags)
    kept = _kept(text, tags)
    # Its words are its tags, for want of others, and it is there for captions of sentences.
    captions = (("txt", text.strip()),) if is_all_sentences(text) else ()
    return TagFile(tuple(tags.items()), len(entries), sound, rating, captions=captions, kept=kept)


def _kept(text: str, tags: Mapping[str, str]) -> int | None:
    """How many of a text's tags stand before its `|||`."""
    before = marked_prefix(text)
    if before is None:
        return None
    first: dict[str, str] = {}
    # With a comma, so that one tag of two words is not two.
    _add(first, ((raw, "") for raw in split_text(f"{before},")))
    return next((place for place, tag in enumerate(tags) if tag not in first), len(tags))


def _add(tags: dict[str, str], entries: Iterable[Entry]) -> int:
    """Add tags as they are written; how many of them are well formed."""
    sound = 0
    for raw, given in entries:
        tag, prefix, well_formed = read_word(raw)
        sound += well_formed
        if tag and not tags.get(tag):
            tags[tag] = given or prefix
    return sound


def _of_record(record: Record) -> TagFile:
    tags: dict[str, str] = {}
    written, sound = len(record.tags), _add(tags, record.tags)
    given: dict[str, str] = {}
    for raw, kind in record.classed:
        tag, prefix, well_formed = read_word(raw)
        # The list's word goes before the prefix's.
        held = kind or prefix
        if tag in given:
            held = stronger(held, given[tag])
        given[tag] = held
        if tag not in tags:
            written += 1
            sound += well_formed
            tags[tag] = held
        elif held:
            tags[tag] = held
    tags.pop("", None)
    dropped = frozenset(tag for tag, kind in tags.items() if kind == DROPPED)
    if dropped:
        tags = {tag: kind for tag, kind in tags.items() if kind != DROPPED}
    return TagFile(
        tuple(tags.items()),
        written,
        sound,
        record.rating or rating_in_tags(tags),
        record.score,
        record.record_id,
        tuple(record.captions),
        dropped,
        record.year,
        _kept(record.text, tags),
    )
