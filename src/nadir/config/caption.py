"""`train.caption`: the grammar by which what is known about an image becomes a prompt."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nadir.config.base import Section
from nadir.config.objective import Share

TagGroup = Literal["people", "character", "copyright", "artist", "general", "other", "meta"]
"""Where a tag stands: `people` are general tags that count them, `other` unknown classes."""
Fact = Literal["quality", "year", "rating"]
"""A word made from what the source says about an image."""

TAG_GROUPS: tuple[TagGroup, ...] = (
    "people",
    "character",
    "copyright",
    "artist",
    "general",
    "other",
    "meta",
)
FACTS: tuple[Fact, ...] = ("quality", "year", "rating")

Part = Annotated[float, Field(ge=0, le=1000)]


class CaptionForms(Section):
    """How often captions have each form, relative to the sum of all four.

    An image without a sentence has tags alone, one without tags the sentence; at 1, 0, 0, 0
    sentences are not read at all.
    """

    tags: Part
    """Tags alone."""
    sentence: Part
    """One of the image's sentences alone."""
    tags_sentence: Part
    """Tags, then a sentence."""
    sentence_tags: Part
    """A sentence, then tags."""

    @model_validator(mode="after")
    def _one_is_drawn(self) -> CaptionForms:
        if not any(self.model_dump().values()):
            raise ValueError("one of the forms must be above 0")
        return self


class CaptionParams(Section):
    """How an image's tags and sentences become a prompt (docs/training.md, Captions)."""

    drop_all: Share
    """Share of samples trained with the empty prompt, which classifier-free guidance needs."""
    drop_tag: Share
    """Chance of each tag to be left out of a sample."""
    drop_class: dict[TagGroup | Fact, Share]
    """Class of `order` and the chance that all its tags are left out of a sample; 1 leaves them
    out of held-out captions, too."""
    protected: tuple[str, ...]
    """Tags that `drop_tag` and `drop_class` never leave out, as data/tags.parquet has them."""
    shuffle: bool
    """Shuffle tags within their class at each visit."""
    order: tuple[TagGroup | Fact, ...]
    """Order of the seven classes of tags. `quality`, `year` and `rating` in it write a word made
    from the source's score, date and rating at that place, where the image has them."""
    keep_first: Annotated[int, Field(ge=0, le=1000)] | Literal["marked"]
    """How many tags, in the source's order, stand before all others, never dropped or shuffled;
    `marked`: those before the `|||` of a tag file that has one."""
    forms: CaptionForms
    """Mixture of tags and sentences."""
    quality: dict[str, Share]
    """Word and the share of images of the same year that must have a lower score; of several that
    hold, the one of the highest share is written."""
    prefix: str
    """Text before every caption, but not the empty one."""
    suffix: str
    """Text behind every caption, but not the empty one."""
    underscores: Literal["keep", "space"]
    """Write `red_hair` or `red hair`."""
    token_chunks: Annotated[int, Field(ge=1, le=8)]
    """Chunks of 75 tokens that a prompt may fill (paper §4.2: 3)."""

    @model_validator(mode="after")
    def _agrees(self) -> CaptionParams:
        missing = [name for name in TAG_GROUPS if name not in self.order]
        faults = {
            f"order must name each class of tags ({', '.join(missing)})": missing,
            "order names a class twice": len({*self.order}) < len(self.order),
            "drop_class: only facts that order names can be left out": {
                name for name in self.drop_class if name not in self.order
            },
            "`quality` in order and words in quality go together": ("quality" in self.order)
            != bool(self.quality),
        }
        if any(faults.values()):
            raise ValueError("; ".join(text for text, wrong in faults.items() if wrong))
        return self

    @property
    def facts(self) -> tuple[Fact, ...]:
        """The facts that captions have words of."""
        return tuple(name for name in FACTS if name in self.order)

    @property
    def has_sentences(self) -> bool:
        """Whether a caption may have a sentence."""
        forms = self.forms
        return forms.sentence + forms.tags_sentence + forms.sentence_tags > 0


AS_BEFORE = {
    "drop_class": {},
    "protected": (),
    "order": TAG_GROUPS,
    "keep_first": 0,
    "forms": {"tags": 1.0, "sentence": 0.0, "tags_sentence": 0.0, "sentence_tags": 0.0},
    "quality": {},
    "prefix": "",
    "suffix": "",
}
"""What models were trained by whose facts do not name these keys."""
