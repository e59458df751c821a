"""Whether tags look like tags: signs of a wrong text encoding, and of captions cut into pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow.compute as pc

from nadir.data.gate.profile import MIN_IMAGES

if TYPE_CHECKING:
    import pyarrow as pa

# UTF-8 that was read as Latin-1 or Windows-1252 and then put in lower case: a letter that stands
# for the first byte of a character, and one that stands for a further byte. Letters that follow
# others in real words are not among the latter. Besides: what decoders write for what they cannot
# read, and characters that mean nothing outside one font.
_MISREAD = (
    "[\u00e2-\u00ff][\u0080-\u00bf\u20ac\u201a\u201e\u2026\u2020\u2021\u2030\u2039"
    "\u2018\u2019\u201c\u201d\u2022\u2013\u2014\u02dc\u2122]|\ufffd|[\ue000-\uf8ff]"
)


def tag_sanity(counts: pa.Table, images: int) -> dict[str, float | None]:
    """Shares of the tag uses that make sense.

    Args:
        counts: The used images' tags, from `Manifest.tag_counts`.
        images: How many there are.

    Returns:
        `readable_tag_share`: without signs of a wrong encoding; None where there are no tags.
        `recurring_tag_share`: of a tag that stands at more than one image; None as well for a
        dataset so small that tags can hardly recur.
    """
    uses = pc.sum(counts.column("count")).as_py()
    if not uses:
        return {"readable_tag_share": None, "recurring_tag_share": None}
    misread = pc.match_substring_regex(counts.column("tag"), _MISREAD)
    bad = pc.sum(counts.column("count").filter(misread)).as_py() or 0
    once = pc.sum(pc.equal(counts.column("count"), 1)).as_py()
    recurring = None if images < MIN_IMAGES else round(1 - once / uses, 6)
    return {"readable_tag_share": round(1 - bad / uses, 6), "recurring_tag_share": recurring}
