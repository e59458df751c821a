"""How many captions are longer than the text encoders read, and which tags are lost by it.

A caption is tags between commas, and a tokenizer never joins what a space parts; so a caption's
tokens are those of its tags, each with the comma that follows it, and each tag is counted once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.data.tags.captions import class_rank
from nadir.data.tags.written import written_tag
from nadir.diffusion.sdxl import CHUNK_TOKENS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from nadir.config.caption import CaptionParams
    from nadir.data.tags.codes import TagUses

    Integers = NDArray[np.int64]
    Counter = Callable[[Sequence[str]], Integers]
    """Tokens of each of some texts."""

_NAMED = 20


@dataclass(frozen=True)
class CaptionLengths:
    """What captions with all their tags are like.

    Attributes:
        limit: Tokens that are read.
        images: Captions in all.
        cut: Captions that are longer.
        longest: Tokens of the longest.
        lost: The tags most often cut off, and in how many captions, most first.
    """

    limit: int
    images: int
    cut: int
    longest: int
    lost: dict[str, int]

    @property
    def share(self) -> float:
        """Share of captions that are cut."""
        return self.cut / self.images if self.images else 0.0

    def as_json(self) -> dict[str, Any]:
        """As `reports/tags.json` has it."""
        return {
            "token_limit": self.limit,
            "images": self.images,
            "cut": self.cut,
            "cut_share": self.share,
            "longest": self.longest,
            "most_lost": self.lost,
        }

    def warning(self) -> str | None:
        """What to say when captions are cut."""
        if not self.cut:
            return None
        names = ", ".join(list(self.lost)[:5])
        return (
            f"{self.share:.1%} of the captions ({self.cut:,} of {self.images:,}) have more than "
            f"the {self.limit} tokens that are read, up to {self.longest:,}; cut off most often: "
            f"{names}. Raise train.caption.token_chunks"
        )


def caption_lengths(
    uses: TagUses, tags: Sequence[tuple[str, str]], params: CaptionParams, count: Counter
) -> CaptionLengths:
    """Measure the captions of some images with all their tags, none left out.

    Sentences, prefix, suffix, words of facts and kept tags are not counted: `nadir captions` shows
    whole captions. Where tags are shuffled, the order is one that is drawn by lot, the same at
    every call.

    Args:
        uses: The images' tags, numbers of `tags`.
        tags: (name, class) of each tag.
        params: How captions are written, and how many chunks are read.
        count: Tokens of each of some texts.
    """
    limit = CHUNK_TOKENS * params.token_chunks
    texts = [written_tag(name, params) for name, _ in tags]
    measured = _Tags(
        alone=count(texts),
        followed=count([f"{text}," for text in texts]),
        ranks=np.array([class_rank(name, kind, params) for name, kind in tags], np.int64),
        draw=np.random.default_rng(0) if params.shuffle else None,
    )
    cut, longest, lost = 0, 0, np.zeros(len(tags), np.int64)
    for piece in uses.pieces():
        rows, starts = measured.long_captions(piece, limit)
        ends = measured.ends(rows, starts)
        last = ends[starts[1:] - 1]
        cut += int((last > limit).sum())
        longest = max(longest, int(last.max(initial=0)))
        lost += np.bincount(rows[ends > limit], minlength=len(tags))
    most = np.argsort(-lost, kind="stable")[:_NAMED].tolist()
    named = {tags[row][0]: int(lost[row]) for row in most if lost[row]}
    return CaptionLengths(limit, len(uses), cut, longest, named)


@dataclass(frozen=True)
class _Tags:
    """Tokens of each tag without and with a comma behind it, and where it stands in captions."""

    alone: Integers
    followed: Integers
    ranks: Integers
    draw: np.random.Generator | None

    def long_captions(self, piece: TagUses, limit: int) -> tuple[Integers, Integers]:
        """The tags, in captions' order, and where each caption starts, of all that matter.

        Those are the captions that may be longer than the limit, and that may be the longest.
        """
        total = np.diff(np.concatenate([[0], np.cumsum(self.followed[piece.rows])])[piece.starts])
        # What the last tag's missing comma may change.
        change = self.alone - self.followed
        upper = total + change.max(initial=0)
        lower = total + change.min(initial=0)
        kept = (upper > limit) | (upper >= lower.max(initial=0))
        kept &= np.diff(piece.starts) > 0
        image, chosen = piece.images(), np.repeat(kept, np.diff(piece.starts))
        image, rows = image[chosen], piece.rows[chosen].astype(np.int64)
        size = len(rows)
        tie = self.draw.integers(0, 1 << 32, size) if self.draw else np.arange(size)
        # One number for caption, class and place is sorted ten times as fast as three.
        order = np.argsort((image << 4 | self.ranks[rows]) << 32 | tie, kind="stable")
        return rows[order], np.concatenate([[0], np.cumsum(np.diff(piece.starts)[kept])])

    def ends(self, rows: Integers, starts: Integers) -> Integers:
        """Tokens of each caption up to the end of each of its tags, without the comma behind."""
        whole = np.concatenate([[0], np.cumsum(self.followed[rows])])
        before = whole[:-1] - np.repeat(whole[starts[:-1]], np.diff(starts))
        return np.asarray(before + self.alone[rows])
