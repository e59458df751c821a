"""What captions can have besides tags, of many images: sentences, words of facts, kept tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.tables import MANIFEST, read_table
from nadir.data.tags.captions import NOTHING, AboutImage
from nadir.data.tags.codes import TagCoder, TagUses, tag_batches

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from nadir.config.caption import CaptionParams, Fact

    Integers = NDArray[np.int64]
    Floats = NDArray[np.float64]
    Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class CaptionFacts:
    """Of N images, in the manifest's order, what `train.caption` asks for.

    Attributes:
        sentences: Their `CAPTION_LIST`; None where no caption has a sentence.
        words: Each fact's words, null where an image has none.
        kept: Tags that stand first; None where none do.
        tag_names: (name, class) of each tag that `kept` counts.
    """

    sentences: pa.ChunkedArray | None
    words: Mapping[Fact, pa.Array]
    kept: TagUses | None
    tag_names: Sequence[tuple[str, str]]

    def of(self, image: int) -> AboutImage:
        """What is known about one image."""
        listed = None if self.sentences is None else self.sentences[image].as_py()
        words = {fact: column[image].as_py() for fact, column in self.words.items()}
        kept = () if self.kept is None else self.kept.of(image)
        return AboutImage(
            sentences=[each["text"] for each in listed or ()],
            words={fact: word for fact, word in words.items() if word},
            kept=[self.tag_names[row] for row in kept],
        )


def caption_facts(
    manifest: Path,
    params: CaptionParams,
    *,
    coder: TagCoder,
    tag_names: Sequence[tuple[str, str]],
    chosen: Mask,
) -> CaptionFacts | None:
    """Read what captions need besides tags; None, and nothing is read, when that is nothing.

    Args:
        manifest: A `MANIFEST` file.
        params: Names what is needed.
        coder: Knows the tags.
        tag_names: (name, class) of each of them.
        chosen: Which of the manifest's images are wanted; scores are ranked among all of them.
    """
    if not (params.has_sentences or params.facts or params.keep_first):
        return None
    sentences = None
    if params.has_sentences:
        sentences = read_table(manifest, MANIFEST, ["captions"])["captions"].filter(chosen)
    words = {fact: pc.filter(_words(fact, manifest, params), chosen) for fact in params.facts}
    kept = _kept(manifest, params, coder, chosen) if params.keep_first else None
    return CaptionFacts(sentences, words, kept, tag_names)


def about(facts: CaptionFacts | None, image: int) -> AboutImage:
    """What is known about one image; nothing where nothing was read."""
    return NOTHING if facts is None else facts.of(image)


def quality_words(
    scores: pa.ChunkedArray, years: pa.ChunkedArray, words: Mapping[str, float]
) -> pa.Array:
    """The word of each image's score, null where it has no score or no word holds.

    Args:
        scores: [N] votes, or null.
        years: [N] calendar years, or null; images without a year are ranked among each other.
        words: Word and the share of images of the same year that must have a lower score.
    """
    names = sorted(words, key=lambda word: words[word])
    limits = np.array([words[name] for name in names])
    rows = np.flatnonzero(scores.is_valid().to_numpy())
    score = scores.drop_null().to_numpy()
    year = years.fill_null(0).to_numpy()[rows]
    word = np.full(len(scores), -1, np.int64)
    word[rows] = np.searchsorted(limits, _lower_share(score, year), side="right") - 1
    return pa.array(names, pa.string()).take(pa.array(word, mask=word < 0))


def _lower_share(scores: Integers, years: Integers) -> Floats:
    """Of the images of the same year, the share that has a lower score."""
    shares = np.zeros(len(scores))
    order = np.argsort(years, kind="stable")
    ends = np.flatnonzero(np.diff(years[order])) + 1
    for rows in np.split(order, ends):
        found = np.sort(scores[rows])
        shares[rows] = np.searchsorted(found, scores[rows], side="left") / max(len(rows), 1)
    return shares


def _words(fact: Fact, manifest: Path, params: CaptionParams) -> pa.Array:
    """Each image's word, in the manifest's order."""
    if fact == "quality":
        table = read_table(manifest, MANIFEST, ["score", "year"])
        return quality_words(table["score"], table["year"], params.quality)
    values = read_table(manifest, MANIFEST, [fact])[fact].combine_chunks()
    if fact == "year":
        values = pc.binary_join_element_wise("year", values.cast(pa.string()), "_")
    return values


def _kept(manifest: Path, params: CaptionParams, coder: TagCoder, chosen: Mask) -> TagUses:
    """The tags that stand first, with what they imply."""
    starts, parts, images, end = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], 0, 0
    for batch, tags in tag_batches(manifest, ["kept_tags"]):
        here = chosen[images : images + len(tags)]
        images += len(tags)
        lists = tags.filter(pa.array(here))
        counts = np.full(len(lists), params.keep_first if params.keep_first != "marked" else 0)
        if params.keep_first == "marked":
            counts = batch.column("kept_tags").fill_null(0).to_numpy()[here]
        uses = coder.encode(_first(lists, counts))
        starts.append(uses.starts[1:] + end)
        parts.append(uses.rows)
        end += len(uses.rows)
    return TagUses(np.concatenate(starts), np.concatenate(parts))


def _first(lists: pa.ListArray, counts: Integers) -> pa.ListArray:
    """The first tags of each list."""
    lengths = pc.list_value_length(lists).to_numpy()
    counts = np.minimum(counts, lengths)
    before = np.repeat(np.cumsum(lengths) - lengths, lengths)
    place = np.arange(int(lengths.sum())) - before
    values = lists.flatten().filter(pa.array(place < np.repeat(counts, lengths)))
    offsets = pa.array(np.concatenate([[0], np.cumsum(counts)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, values)
