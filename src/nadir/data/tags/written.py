"""How captions and prompts write a tag, and what users ask for in that form."""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING

from nadir.data.tag_forms.sentences import joined, plain_sentence, prompt_parts
from nadir.data.tag_text import read_tag
from nadir.data.vocabulary import load_vocabulary

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nadir.config.caption import CaptionParams

# Faces such as ^_^ and o_o are made of their underscore; words have two letters in a row.
_WORD = re.compile(r"[^\W\d_]{2}")
_NO_ALIASES: Mapping[str, str] = {}


def written_tag(name: str, params: CaptionParams) -> str:
    """A tag as captions have it."""
    return _spaced(name) if params.underscores == "space" else name


def prompt_tags(prompt: str, aliases: Mapping[str, str] = _NO_ALIASES) -> list[tuple[str, str]]:
    """(as it is written, in booru form) of the tags that a prompt asks for, sentences left out.

    Args:
        prompt: Tags between commas or line breaks, among them sentences.
        aliases: Name and the tag that it stands for.
    """
    return [(raw, tag) for raw, tag, is_sentence in _read(prompt, aliases) if not is_sentence]


def write_prompt(
    prompt: str, params: CaptionParams, aliases: Mapping[str, str] = _NO_ALIASES
) -> str:
    r"""Write what a user asks for as `render_caption` writes tags; their order stays.

    Each tag is read as one in a tag file is, so `Red Hair`, `red_hair`, `(red hair:1.2)`,
    `saber \(fate\)` and `artist:someone` ask for what training called `red_hair`, `saber_(fate)`
    and `someone`; then aliases hold. A sentence stays one.

    Args:
        prompt: Tags between commas or line breaks, among them sentences.
        params: How the model was trained to be asked.
        aliases: Name and the tag that it stands for.
    """
    return joined(
        (text if is_sentence else written_tag(text, params), is_sentence)
        for _, text, is_sentence in _read(prompt, aliases)
    )


def _read(prompt: str, aliases: Mapping[str, str]) -> list[tuple[str, str, bool]]:
    """(as written, as it is read, whether it is a sentence) of each part of a prompt."""
    parts = []
    for text, is_sentence in prompt_parts(prompt, _is_known):
        if is_sentence:
            parts.append((text, plain_sentence(text), True))
        elif tag := read_tag(text):
            parts.append((text, aliases.get(tag, tag), False))
    return parts


def _is_known(text: str) -> bool:
    return read_tag(text) in _vocabulary()


@functools.cache
def _vocabulary() -> frozenset[str]:
    return frozenset(tag for tag, _ in load_vocabulary())


def _spaced(name: str) -> str:
    return name.replace("_", " ") if _WORD.search(name) else name
