"""`validate`: what counts as a usable image, and when the pipeline must stop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nadir.config.base import Section

Share = Annotated[float, Field(ge=0, le=1)]
Severity = Literal["critical", "warning"]


class ShareGate(Section):
    """A minimum share and what happens below it."""

    minimum: Share
    """Lowest acceptable share, 0 to 1."""
    severity: Severity
    """`critical` stops the pipeline, `warning` reports."""


class LimitGate(Section):
    """A maximum share and what happens above it."""

    maximum: Share
    """Highest acceptable share, 0 to 1."""
    severity: Severity
    """`critical` stops the pipeline, `warning` reports."""


class ValidateParams(Section):
    """Limits for single images (quarantine) and for the dataset (gate)."""

    min_side_px: Annotated[int, Field(ge=1)]
    """Shorter side below this: quarantined as `too_small`."""
    max_pixels: Annotated[int, Field(ge=1)]
    """Width times height above this (WebP: half of it): quarantined as `too_large`, undecoded."""
    max_aspect_ratio: Annotated[float, Field(gt=1)]
    """Longer over shorter side above this: quarantined as `extreme_aspect`."""
    max_file_bytes: Annotated[int, Field(ge=1)]
    """Larger files are quarantined as `too_large`, unread."""
    max_seconds: Annotated[float, Field(gt=0)]
    """Processor seconds for a file; more, or ten times as long by the clock: `timed_out`."""
    min_tags: Annotated[int, Field(ge=0)]
    """Fewer tags than this: quarantined as `no_tags`."""
    max_tags: Annotated[int, Field(ge=1)]
    """More tags than this: quarantined as `too_many_tags`."""
    alpha_background: tuple[int, int, int]
    """RGB (0-255) that transparent pixels are flattened on."""
    exclude_ratings: tuple[str, ...]
    """Ratings (`explicit` ...; `unrated` for none) that are quarantined as `rating_excluded`."""
    warn_ratings: tuple[str, ...]
    """Ratings whose images are used, with a warning that says how many there are."""
    holdout_share: Annotated[float, Field(ge=0, lt=1)]
    """Share of near-duplicate groups kept out of training."""
    split_seed: int
    """Changes which groups are held out."""
    decodable_share: ShareGate
    """Images that can be decoded, of all that were listed."""
    usable_share: ShareGate
    """Images that are usable, of all that were listed."""
    tagged_share: ShareGate
    """Images that have at least `min_tags` tags, of all that decode."""
    tag_vocabulary_share: ShareGate
    """Tag uses in the booru form (lower case, no spaces around, printable)."""
    readable_tag_share: ShareGate
    """Tag uses without signs of a wrong text encoding (`Ã©` for `é`, replacement characters)."""
    recurring_tag_share: ShareGate
    """Tag uses whose tag stands at more than one image; few mean captions, not tags."""
    duplicate_share: LimitGate
    """Images with the same bytes as another, of all that decode."""
    near_duplicate_share: LimitGate
    """Used images that look like another used one (perceptual hash)."""
    tag_drift: LimitGate
    """Tag uses that would have to change for the frequencies of the accepted dataset."""
    size_drift: LimitGate
    """Images that would have to change for the sizes and shapes of the accepted dataset."""
    luminance_drift: LimitGate
    """Images that would have to change for the brightness of the accepted dataset."""
