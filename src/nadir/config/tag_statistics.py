"""`tag_statistics`: counts, rarity and loss weights of tags."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from nadir.config.base import Section

Share = Annotated[float, Field(ge=0, le=1)]


class TagStatisticsParams(Section):
    """Tag-based loss weighting (paper §4.3, which gives no formula: docs/data.md has ours)."""

    power: Annotated[float, Field(ge=0, le=2)]
    """p in weight = (geometric-mean count / count)^p; 0 weighs all tags alike."""
    min_weight: Annotated[float, Field(gt=0, le=1)]
    """Lower clip of a tag's weight."""
    max_weight: Annotated[float, Field(ge=1)]
    """Upper clip of a tag's weight."""
    max_document_frequency: Share
    """Tags on a larger share of images than this carry no weight."""
    weighted_classes: tuple[str, ...]
    """Tag classes that take part in the weighting."""
    head_share: Share
    """Most used tags that together hold this share of all uses are `head`."""
    tail_share: Share
    """Least used tags that together hold this share of all uses are `tail`."""

    paired_tags: Annotated[int, Field(ge=0, le=1000)]
    """Most used tags whose co-occurrence goes to data/tag_pairs.parquet."""

    @model_validator(mode="after")
    def _bins_do_not_overlap(self) -> TagStatisticsParams:
        if self.head_share + self.tail_share > 1:
            msg = "head_share and tail_share together exceed 1"
            raise ValueError(msg)
        return self
