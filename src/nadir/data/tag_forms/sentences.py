"""Sentences in captions and prompts: which they are, their options, and how they join tags."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

from nadir.data.tag_forms.classes import class_of_prefix
from nadir.data.tag_forms.text import without_brackets
from nadir.data.tag_forms.words import without_weights

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Iterator

_LINES = re.compile(r"[\r\n]+")
_END = re.compile(r"(?<=[.!?])\s+")
_MARKS = (".", "!", "?")
_MOST_PARTS = 64
_OPTIONS = re.compile(r"\{([^{}]*\|[^{}]*)\}")
_MOST_OPTIONS = 256
# Titles begin with `the`, too.
_FIRST_WORDS = frozenset({"a", "an", "this", "there"})
_LITTLE_WORDS = _FIRST_WORDS | {"the", "is", "are", "was", "were", "her", "his", "their", "its"}
_LONG = 5


def is_all_sentences(text: str) -> bool:
    """Whether a text holds sentences and no tags."""
    parts = [is_sentence for _, is_sentence in prompt_parts(text, _is_no_tag)]
    return bool(parts) and all(parts)


def _is_no_tag(_: str) -> bool:
    return False


def plain_sentence(text: str) -> str:
    """A sentence on one line, without control characters; letters and marks stay as they are."""
    if not text.isprintable():
        text = "".join(c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")
    return " ".join(text.split())


def one_option(text: str, rng: random.Random | None) -> str:
    """A sentence with one option of each `{a|b}`, drawn, or the first; they may be nested.

    Args:
        text: Of the sentence.
        rng: Source of the draws; None takes the first.
    """

    def choose(found: re.Match[str]) -> str:
        options = found[1].split("|")
        return options[0] if rng is None else rng.choice(options)

    for _ in range(_MOST_OPTIONS):
        text, changed = _OPTIONS.subn(choose, text)
        if not changed:
            break
    return text


def joined(parts: Iterable[tuple[str, bool]]) -> str:
    """Tags and sentences behind each other, a comma between two; a full stop needs none behind it.

    Args:
        parts: Text, and whether it is a sentence; empty texts are left out.
    """
    text, ended = "", False
    for part, is_sentence in parts:
        if not part:
            continue
        text += (" " if ended else ", ") * bool(text) + part
        ended = is_sentence and part.endswith(_MARKS)
    return text


def prompt_parts(prompt: str, is_tag: Callable[[str], bool]) -> Iterator[tuple[str, bool]]:
    """The tags and sentences of a prompt, as they are written, and whether each is a sentence.

    Tags stand between commas and line breaks. A part is a sentence when it has three words or more
    without an underscore, and `a` or the like in front, a full stop behind, an article or the like
    within it, or more than five words. It goes on to the next mark of a sentence's end where no
    underscore stands before that, else as long as its parts look like one. Weights, and brackets
    around a tag, are left out.

    Args:
        prompt: What a user asks for.
        is_tag: Whether a part is known to be a tag, whatever it looks like.
    """
    if "(" in prompt and ":" in prompt:
        prompt = without_weights(prompt)
    for line in _LINES.split(prompt):
        parts = [part.strip() for part in line.split(",")]
        start = 0
        while start < len(parts):
            if not _looks_like_a_sentence(parts[start], is_tag):
                if parts[start]:
                    yield without_brackets(parts[start]), False
                start += 1
                continue
            end = _end_of_sentence(parts, start, is_tag)
            sentence, rest = _cut_behind_stops(parts[end - 1], is_tag)
            yield ", ".join([*parts[start : end - 1], sentence]), True
            start = end
            # What stands behind the full stop is looked at anew.
            if rest:
                start, parts[end - 1] = end - 1, rest


def _end_of_sentence(parts: list[str], start: int, is_tag: Callable[[str], bool]) -> int:
    """One behind the last part of the sentence that begins at `start`."""
    for end in range(start, min(len(parts), start + _MOST_PARTS)):
        first = _END.split(parts[end], maxsplit=1)[0]
        if "_" in first:
            break
        if first.endswith(_MARKS) and not is_tag(parts[end]):
            return end + 1
    end = start + 1
    while end < len(parts) and _looks_like_a_sentence(parts[end], is_tag):
        end += 1
    return end


def _cut_behind_stops(part: str, is_tag: Callable[[str], bool]) -> tuple[str, str]:
    """The sentences at the beginning of a part, and what follows them."""
    pieces = _END.split(part)
    count = 1
    for piece in pieces[1:]:
        if "_" in piece or not piece.endswith(_MARKS) or is_tag(piece):
            break
        count += 1
    return " ".join(pieces[:count]), " ".join(pieces[count:])


def _looks_like_a_sentence(part: str, is_tag: Callable[[str], bool]) -> bool:
    first = _END.split(part, maxsplit=1)[0]
    words = first.lower().split()
    if len(words) < 3 or "_" in first:
        return False
    prefix, colon, _ = words[0].partition(":")
    if colon and class_of_prefix(prefix) is not None:
        return False
    sentence = (
        words[0] in _FIRST_WORDS
        or first.endswith(".")
        or len(words) > _LONG
        or (len(words) > 3 and not _LITTLE_WORDS.isdisjoint(words[1:]))
    )
    return sentence and not is_tag(part)
