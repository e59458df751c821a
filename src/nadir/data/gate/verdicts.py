"""From facts to tables: which images are usable, and one reason for each that is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.gate.manifest import manifest_of
from nadir.data.gate.removed import REMOVED
from nadir.data.inspection.looking import LOST
from nadir.data.large_tables import mask, sorted_by_text, take_rows, texts_at, texts_of
from nadir.data.quarantine import FIXES, UNDECODABLE, Reason
from nadir.data.tables import QUARANTINE
from nadir.data.tag_text import rating_word

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from nadir.config.validate import ValidateParams
    from nadir.data.gate.manifest import Manifest
    from nadir.data.inspection.listing import ListingFacts

    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

_CODES = {reason: code for code, reason in enumerate(Reason, start=1)}

UNRATED = "unrated"
"""Stands in the parameters for images without a rating."""


@dataclass(frozen=True)
class Screened:
    """The verdict on every listed image.

    Attributes:
        manifest: Usable images, all for training.
        quarantine: The others, schema `QUARANTINE`, sorted by path.
        decoded: Images that could be decoded.
        tagged: Decoded images with at least `validate.min_tags` tags.
        tags_written: Tags in the tag files, repetitions included.
        tags_well_formed: Those of them that are in the booru form.
        copies: Decoded images left out because another has the same bytes.
        colours: What became of the embedded colour profiles of the usable images: how many each,
            by the words of `nadir.data.inspection.colour.Verdict`.
    """

    manifest: Manifest
    quarantine: pa.Table
    decoded: int
    tagged: int
    tags_written: int
    tags_well_formed: int
    copies: int
    colours: dict[str, int]


def screen(
    listing: pa.Table,
    found: ListingFacts,
    params: ValidateParams,
    vocabulary: Sequence[tuple[str, str]],
    removed: Collection[str] = (),
) -> Screened:
    """Sort the listed images into usable ones and quarantine.

    Args:
        listing: Columns path, size and repeats of schema `LISTING`.
        found: What is known about its rows.
        params: The limits.
        vocabulary: (tag, class) for tags whose file names no class.
        removed: sha256 of images that somebody took out.
    """
    looked = _Looked(listing, found)
    verdicts = _Verdicts(listing.num_rows)
    _judge_file(looked, params, verdicts)
    decoded = ~np.isin(verdicts.reasons, [_CODES[reason] for reason in UNDECODABLE])
    taken_out = pc.is_in(looked.sha256, pa.array(sorted(removed), pa.string()))
    verdicts.give(Reason.REMOVED, mask(taken_out), lambda _: f"it is listed in {REMOVED}")
    _judge_shape(looked, params, verdicts)
    _judge_tags(looked, params, verdicts)
    _judge_rating(looked, params, verdicts)
    usable, alike = sorted_by_text(looked.sha256, np.flatnonzero(verdicts.reasons == 0))
    _judge_duplicates(looked, usable, alike, verdicts)
    kept = verdicts.reasons == 0
    return Screened(
        manifest_of(listing, found, usable[kept[usable]], vocabulary),
        verdicts.table(looked.path),
        int(decoded.sum()),
        int((decoded & (looked.tag_count >= params.min_tags)).sum()),
        int(looked.written.sum()),
        int(looked.well_formed.sum()),
        int((verdicts.reasons == _CODES[Reason.DUPLICATE]).sum()),
        _counted(found.facts.column("colour"), kept),
    )


def _counted(words: pa.ChunkedArray, kept: Mask) -> dict[str, int]:
    """How often each word stands in the kept rows, sorted by word; nulls are not counted."""
    found = words.filter(pa.array(kept)).drop_null().value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in sorted(found, key=lambda row: row["values"])}


class _Verdicts:
    """One reason and detail per row; the first one given stays."""

    def __init__(self, rows: int) -> None:
        self.reasons = np.zeros(rows, np.uint8)
        self._given: list[tuple[Rows, list[str]]] = []

    def give(self, reason: Reason, where: Mask, detail: Callable[[int], str]) -> None:
        rows = np.flatnonzero(where & (self.reasons == 0))
        self.reasons[rows] = _CODES[reason]
        self._given.append((rows, [detail(row) for row in rows.tolist()]))

    def table(self, paths: pa.ChunkedArray) -> pa.Table:
        rows = np.concatenate([rows for rows, _ in self._given])
        details = pa.array([text for _, texts in self._given for text in texts], pa.string())
        reason = pa.array(self.reasons[rows].astype(np.int32) - 1)
        columns = [
            take_rows(pa.table({"path": paths}), rows).column(0),
            pa.array([str(reason) for reason in Reason]).take(reason),
            details,
            pa.array([FIXES[reason] for reason in Reason]).take(reason),
        ]
        table = pa.Table.from_arrays(columns, schema=QUARANTINE)
        # As listed first: images of one path keep that order.
        return table.take(pa.array(np.argsort(rows))).sort_by("path")


class _Looked:
    """The columns that verdicts are made from, one value for each listed image."""

    def __init__(self, listing: pa.Table, found: ListingFacts) -> None:
        facts, tags = found.facts, found.tags
        self.path, self.sizes = listing.column("path"), listing.column("size").to_numpy()
        self.sha256, self.rating = facts.column("sha256"), tags.column("rating").fill_null(UNRATED)
        self.webp = mask(pc.equal(facts.column("format"), "webp"))
        self.reason, self.detail = facts.column("reason"), facts.column("detail")
        self.tags_reason, self.tags_detail = tags.column("reason"), tags.column("detail")
        self.width, self.height = (
            facts.column(name).fill_null(0).to_numpy() for name in ("width", "height")
        )
        self.written, self.well_formed = (
            tags.column(name).fill_null(0).to_numpy() for name in ("written", "well_formed")
        )
        self.tag_count = pc.list_value_length(tags.column("tags")).fill_null(0).to_numpy()


def _give_stated(
    reasons: Iterable[Reason], stated: pa.ChunkedArray, details: pa.ChunkedArray, to: _Verdicts
) -> None:
    """Those of `reasons` that inspection gave, with its details."""
    for reason in reasons:
        where = mask(pc.equal(stated, str(reason)))
        to.give(reason, where, texts_at(details, where).__getitem__)


def _judge_file(looked: _Looked, params: ValidateParams, verdicts: _Verdicts) -> None:
    _give_stated(UNDECODABLE, looked.reason, looked.detail, verdicts)
    # Facts may be remembered from a run with wider limits.
    sizes, width, height = looked.sizes, looked.width, looked.height
    verdicts.give(
        Reason.TOO_LARGE,
        sizes > params.max_file_bytes,
        lambda row: f"the file has {sizes[row]:,} bytes, more than {params.max_file_bytes:,}",
    )
    limit = np.where(looked.webp, params.max_pixels // 2, params.max_pixels)
    verdicts.give(
        Reason.TOO_LARGE,
        width.astype(np.int64) * height > limit,
        lambda row: f"{width[row]} x {height[row]} has more than {limit[row]:,} pixels",
    )


def _judge_shape(looked: _Looked, params: ValidateParams, verdicts: _Verdicts) -> None:
    width, height = looked.width, looked.height
    verdicts.give(
        Reason.TOO_SMALL,
        np.minimum(width, height) < params.min_side_px,
        lambda row: (
            f"{width[row]} x {height[row]}; the shorter side must have {params.min_side_px} pixels"
        ),
    )
    aspect = np.maximum(width, height) / np.maximum(np.minimum(width, height), 1)
    verdicts.give(
        Reason.EXTREME_ASPECT,
        aspect > params.max_aspect_ratio,
        lambda row: (
            f"{width[row]} x {height[row]} is {aspect[row]:.1f} : 1; at most "
            f"{params.max_aspect_ratio:g} : 1 is used"
        ),
    )


def _judge_tags(looked: _Looked, params: ValidateParams, verdicts: _Verdicts) -> None:
    own = (Reason.VANISHED, Reason.CANNOT_OPEN, Reason.BAD_TAGS_FILE)
    _give_stated(own, looked.tags_reason, looked.tags_detail, verdicts)
    # The reader itself was lost, with every tag file in its hands.
    lost = mask(pc.is_in(looked.tags_reason, pa.array([str(reason) for reason in LOST])))
    details = texts_at(looked.tags_detail, lost)
    verdicts.give(
        Reason.CANNOT_OPEN, lost, lambda row: f"its tags could not be read: {details[row]}"
    )
    counts = looked.tag_count
    verdicts.give(
        Reason.NO_TAGS,
        counts < params.min_tags,
        lambda row: f"{counts[row]} tags; at least {params.min_tags} wanted",
    )
    verdicts.give(
        Reason.TOO_MANY_TAGS,
        counts > params.max_tags,
        lambda row: f"{counts[row]:,} tags; at most {params.max_tags:,} allowed",
    )


def _judge_rating(looked: _Looked, params: ValidateParams, verdicts: _Verdicts) -> None:
    excluded = pa.array([rating_word(r) for r in params.exclude_ratings], pa.string())
    unwanted = mask(pc.is_in(looked.rating, excluded))
    ratings = texts_at(looked.rating, unwanted)
    verdicts.give(Reason.RATING_EXCLUDED, unwanted, lambda row: f"its rating is {ratings[row]}")


def _judge_duplicates(looked: _Looked, usable: Rows, alike: Rows, verdicts: _Verdicts) -> None:
    """Of usable files with equal bytes the one with the first path stays."""
    places = np.union1d(alike, alike - 1)
    rows = usable[places]
    hashes, paths = (texts_of(column, rows) for column in (looked.sha256, looked.path))
    again = np.r_[False, hashes[1:] == hashes[:-1]]
    first = paths[np.maximum.accumulate(np.where(again, 0, np.arange(len(rows))))]
    copies = np.zeros(len(verdicts.reasons), dtype=bool)
    copies[rows] = first != paths
    originals = dict(zip(rows.tolist(), first.tolist(), strict=True))
    verdicts.give(Reason.DUPLICATE, copies, lambda row: f"same bytes as {originals[row]}")
