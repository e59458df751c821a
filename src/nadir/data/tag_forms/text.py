"""Text files and captions: which of their parts are tags."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nadir.data.tag_forms.classes import class_of_prefix
from nadir.data.tag_forms.words import MAX_TAG_CHARACTERS, without_weights

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINES = re.compile(r"[\r\n]+")
_PARTS = re.compile(r"[,\n\r]")
# sd-scripts' separators of what is kept in its place, and of what stays together.
_SEPARATORS = re.compile(r"(?<!\|)\|\|\|(?!\|)|;;;")
_KEPT = re.compile(r"(?<!\|)\|\|\|(?!\|)")
_GROUP = re.compile(r"\{[^{}]*\|[^{}]*\}")
_MARK = re.compile("\ue000(\\d+)\ue001")
_MOST_GROUPS, _MOST_TEXTS = 64, 16
_WORD = re.compile(r"[^\W\d_]{2}")
_CLOSING = {"(": ")", "[": "]", "{": "}"}
_ARTICLES = frozenset({"a", "an", "the", "is", "are", "was", "this", "there"})
_LONG = 5
# Longer than any tag with its brackets.
_LONGEST = 2 * MAX_TAG_CHARACTERS


def split_text(text: str) -> list[str]:
    """The tags of a text, as they are written.

    They stand between commas and line breaks; in one line without a comma between white space.
    sd-scripts' `|||` and `;;;` part tags, too; of `{simple|white} background` each form is a tag.
    Weights (`(x:1.2)`), and brackets around a tag, are left out. In a list of lines, commas within
    a line are the tag's own where few lines have some.
    """
    if "|" in text or ";;;" in text:
        text = _without_wildcards(_SEPARATORS.sub(",", text))
    if "(" in text and ":" in text:
        text = without_weights(text)
    text = text.strip()
    if "," not in text and "\n" not in text and "\r" not in text:
        return [without_brackets(part) for part in text.split()]
    parts = (part.strip() for part in _parts(text))
    return [without_brackets(part) for part in parts if part]


def marked_prefix(text: str) -> str | None:
    """What stands before sd-scripts' first `|||`, which is to be kept in its place; None without.

    A bar more on either side belongs to a face.
    """
    found = _KEPT.search(text) if "|||" in text else None
    return text[: found.start()] if found else None


def _parts(text: str) -> Iterator[str]:
    lines = [line.strip(" \t,") for line in _LINES.split(text)]
    lines = [line for line in lines if line]
    commas = sum("," in line for line in lines)
    if len(lines) < 2 or not commas or 2 * commas >= len(lines):
        yield from _PARTS.split(text)
        return
    few = len(lines) >= 4 * commas
    for line in lines:
        if "," in line and not (few and line.count(",") < 3) and not _has_namespace(line):
            yield from line.split(",")
        else:
            yield line


def _has_namespace(line: str) -> bool:
    prefix, colon, _ = line.partition(":")
    return bool(colon) and class_of_prefix(prefix.strip().lower()) is not None


def without_brackets(part: str) -> str:
    """A tag without the brackets of prompts around it; faces made of brackets stay."""
    if part[0] not in _CLOSING or len(part) > _LONGEST:
        return part
    while part[:1] in _CLOSING and _encloses(part) and _WORD.search(part):
        part = part[1:-1].strip()
    return part


def _encloses(part: str) -> bool:
    """Whether the first bracket closes at the very end."""
    opening, closing, depth, escaped = part[0], _CLOSING[part[0]], 0, False
    for place, letter in enumerate(part):
        if escaped:
            escaped = False
            continue
        escaped = letter == "\\"
        depth += (letter == opening) - (letter == closing)
        if not depth:
            return place == len(part) - 1
    return False


def _without_wildcards(text: str) -> str:
    """Each form of a tag with `{a|b}` in it, between commas."""
    if not _GROUP.search(text):
        return text
    groups: list[str] = []

    def mark(found: re.Match[str]) -> str:
        groups.append(found[0][1:-1])
        return f"\ue000{len(groups) - 1}\ue001"

    marked = text.replace("\ue000", "").replace("\ue001", "")
    while _GROUP.search(marked):
        marked = _GROUP.sub(mark, marked)
        if len(groups) > _MOST_GROUPS:
            return text.replace("{", " ").replace("}", " ").replace("|", ",")
    pieces = re.split(r"([,\n\r])", marked)
    return "".join(
        ", ".join(_forms(piece, groups)) if _MARK.search(piece) else piece for piece in pieces
    )


def _forms(piece: str, groups: list[str]) -> list[str]:
    done: list[str] = []
    waiting = [piece]
    while waiting and len(done) < _MOST_TEXTS:
        form = waiting.pop(0)
        found = _MARK.search(form)
        if found is None:
            done.append(form)
            continue
        options = groups[int(found[1])].split("|")[:_MOST_TEXTS]
        waiting[:0] = [form[: found.start()] + each + form[found.end() :] for each in options]
    return done


def is_prose(text: str, known: set[str]) -> bool:
    """Whether a text beside tags is a sentence about the image, and no list of tags.

    Args:
        text: Of the file.
        known: The image's tags from elsewhere, in booru form.
    """
    parts = [part.strip() for part in _PARTS.split(_SEPARATORS.sub(",", text)) if part.strip()]
    if len(parts) < 2:
        words = text.lower().split()
        if "_" in text or len(words) < 3:
            return False
        return not _ARTICLES.isdisjoint(words) or words[-1].endswith(".") or known.isdisjoint(words)
    sentences = sum(_is_sentence(part) for part in parts)
    return 2 * sentences >= len(parts)


def _is_sentence(part: str) -> bool:
    words = part.lower().split()
    if "_".join(words).count("_") < 2 or ":" in words[0]:
        return False
    return len(words) > _LONG or (words[0] in _ARTICLES and len(words) > 2 and words[0] != "the")
