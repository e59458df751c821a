"""Tags to prompt (paper §4.2: a prompt is the image's tags, comma-separated)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nadir.data.tag_text import read_tag

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from nadir.config.train import CaptionParams

_PEOPLE = re.compile(r"\d+\+?(girl|boy|other)s?|multiple_(girls|boys|others)|no_humans|solo")
_CLASS_ORDER = ("people", "character", "copyright", "artist", "general", "other", "meta")
_SEPARATORS = re.compile(r"[,\n\r]")
# Faces such as ^_^ and o_o are made of their underscore; words have two letters in a row.
_WORD = re.compile(r"[^\W\d_]{2}")


def render_caption(
    tags: Sequence[tuple[str, str]], params: CaptionParams, rng: random.Random | None
) -> str:
    """Write an image's tags as one prompt.

    Classes stand in a fixed order: how many people, character, copyright, artist, general,
    unknown classes, meta. Within a class tags keep their order, or are shuffled.

    Args:
        tags: (name, class) of each tag, names in booru form (`red_hair`).
        params: Dropping, shuffling and writing of tags.
        rng: Source of the draws; None leaves nothing out and shuffles nothing.

    Returns:
        Tags separated by comma and space; "" when all are dropped.
    """
    if rng is not None:
        if rng.random() < params.drop_all:
            return ""
        tags = [tag for tag in tags if rng.random() >= params.drop_tag]
    groups: dict[str, list[str]] = {name: [] for name in _CLASS_ORDER}
    for name, tag_class in tags:
        groups[_group(name, tag_class)].append(name)
    if rng is not None and params.shuffle:
        for names in groups.values():
            rng.shuffle(names)
    ordered = [name for names in groups.values() for name in names]
    return ", ".join(written_tag(name, params) for name in ordered)


def written_tag(name: str, params: CaptionParams) -> str:
    """A tag as captions have it."""
    return _spaced(name) if params.underscores == "space" else name


def class_rank(name: str, tag_class: str) -> int:
    """Where a tag's class stands in captions: tags of a lower rank come first."""
    return _CLASS_ORDER.index(_group(name, tag_class))


def write_prompt(prompt: str, params: CaptionParams) -> str:
    r"""Write what a user asks for as `render_caption` writes tags; their order stays.

    Each tag is read as one in a tag file is, so `Red Hair`, `red_hair`, `saber \(fate\)` and
    `artist:someone` ask for what training called `red_hair`, `saber_(fate)` and `someone`.

    Args:
        prompt: Tags between commas.
        params: How the model was trained to be asked.
    """
    tags = [tag for part in _SEPARATORS.split(prompt) if (tag := read_tag(part))]
    return ", ".join(_spaced(tag) if params.underscores == "space" else tag for tag in tags)


def _group(name: str, tag_class: str) -> str:
    if tag_class == "general" and _PEOPLE.fullmatch(name):
        return "people"
    return tag_class if tag_class in _CLASS_ORDER else "other"


def _spaced(name: str) -> str:
    return name.replace("_", " ") if _WORD.search(name) else name
