"""Tags and sentences to prompt (paper §4.2: a prompt is the image's tags, comma-separated)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from nadir.data.tag_forms.sentences import joined, one_option, plain_sentence
from nadir.data.tags.written import written_tag

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence

    from nadir.config.caption import CaptionParams, Fact, TagGroup

    Tag = tuple[str, str]
    Class = TagGroup | Fact

_PEOPLE = re.compile(r"\d+\+?(girl|boy|other)s?|multiple_(girls|boys|others)|no_humans|solo")
_FORMS = {
    "tags": ("tags",),
    "sentence": ("sentence",),
    "tags_sentence": ("tags", "sentence"),
    "sentence_tags": ("sentence", "tags"),
}


@dataclass(frozen=True)
class AboutImage:
    """What captions can have besides an image's tags.

    Attributes:
        sentences: As they were written; options such as `{a|b}` are chosen when one is drawn.
        words: Of the facts that `train.caption.order` names, those that the image has.
        kept: Tags that stand before all others, in this order.
    """

    sentences: Sequence[str] = ()
    words: Mapping[Fact, str] = field(default_factory=dict)
    kept: Sequence[Tag] = ()


NOTHING = AboutImage()


def render_caption(
    tags: Sequence[Tag],
    params: CaptionParams,
    rng: random.Random | None,
    about: AboutImage = NOTHING,
) -> str:
    """Write what is known about an image as one prompt.

    Kept tags stand first, then classes in the order of `train.caption.order`. Within a class tags
    keep their order, or are shuffled.

    Args:
        tags: (name, class) of each tag, names in booru form (`red_hair`).
        params: Dropping, shuffling and writing of tags, and the mixture of forms.
        rng: Source of the draws; None leaves nothing out but what always is, shuffles nothing, and
            takes the form of the greatest share, the first sentence and its first options.
        about: Sentences, words of facts, kept tags.

    Returns:
        Tags separated by comma and space, a sentence, or both; "" when all are dropped.
    """
    if rng is not None and rng.random() < params.drop_all:
        return ""
    texts = {"tags": _written(tags, params, rng, about)}
    form = "tags"
    if about.sentences:
        form = _form(params, rng) if texts["tags"] else "sentence"
    if form != "tags":
        chosen = about.sentences[0] if rng is None else rng.choice(about.sentences)
        texts["sentence"] = plain_sentence(one_option(chosen, rng))
    parts = [(texts[name], name == "sentence") for name in _FORMS[form] if texts[name]]
    # A sentence may be nothing but signs that are left out.
    parts = parts or [(texts["tags"], False)]
    if not parts[0][0]:
        return ""
    return joined([(params.prefix, False), *parts, (params.suffix, False)])


def class_rank(name: str, tag_class: str, params: CaptionParams) -> int:
    """Where a tag's class stands in captions: tags of a lower rank come first."""
    return params.order.index(_group(name, tag_class))


def _written(
    tags: Sequence[Tag], params: CaptionParams, rng: random.Random | None, about: AboutImage
) -> str:
    """The tags of a caption, those left out by chance left out."""
    kept = list(dict.fromkeys(about.kept))
    if kept:
        first = {*kept}
        tags = [tag for tag in tags if tag not in first]
    if rng is not None:
        tags = [
            tag
            for tag in tags
            if rng.random() >= params.drop_tag or (params.protected and tag[0] in params.protected)
        ]
    groups: dict[Class, list[str]] = {name: [] for name in params.order}
    for name, tag_class in tags:
        groups[_group(name, tag_class)].append(name)
    for fact, word in about.words.items():
        if fact in groups and all(word != name for name, _ in (*tags, *kept)):
            groups[fact].append(word)
    for name, share in params.drop_class.items():
        if share >= 1 or (share and rng is not None and rng.random() < share):
            groups[name] = [tag for tag in groups[name] if tag in params.protected]
    if rng is not None and params.shuffle:
        for names in groups.values():
            rng.shuffle(names)
    ordered = [name for name, _ in kept] + [name for names in groups.values() for name in names]
    return ", ".join(written_tag(name, params) for name in ordered)


def _form(params: CaptionParams, rng: random.Random | None) -> str:
    shares = {name: share for name, share in params.forms.model_dump().items() if share}
    if len(shares) == 1:
        return str(next(iter(shares)))
    if rng is None:
        return max(shares, key=lambda name: cast("float", shares[name]))
    return str(rng.choices(list(shares), list(shares.values()))[0])


def _group(name: str, tag_class: str) -> TagGroup:
    if tag_class == "general" and _PEOPLE.fullmatch(name):
        return "people"
    return cast("TagGroup", tag_class) if tag_class in _CLASSES else "other"


_CLASSES = frozenset({"people", "character", "copyright", "artist", "general", "other", "meta"})
