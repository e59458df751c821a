"""From facts to tables: which images are usable, and one reason for each that is not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.gate.removed import REMOVED
from nadir.data.inspection.listing import LOST
from nadir.data.large_tables import take_rows
from nadir.data.quarantine import FIXES, UNDECODABLE, Reason
from nadir.data.sources.columns import record_names
from nadir.data.tables import MANIFEST, QUARANTINE, TAG_LIST
from nadir.data.tag_text import rating_word

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    import pandas as pd

    from nadir.config.validate import ValidateParams
    from nadir.data.inspection.listing import ListingFacts

    Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
    Rows = np.ndarray[tuple[int], np.dtype[np.int64]]

_AT_ONCE = 100_000

UNRATED = "unrated"
"""Stands in the parameters for images without a rating."""


@dataclass(frozen=True)
class Screened:
    """The verdict on every listed image.

    Attributes:
        manifest: Usable images, schema `MANIFEST` with every split `train`, sorted by sha256.
        quarantine: The others, schema `QUARANTINE`, sorted by path.
        decoded: Images that could be decoded.
        tagged: Decoded images with at least `validate.min_tags` tags.
        tags_written: Tags in the tag files, repetitions included.
        tags_well_formed: Those of them that are in the booru form.
        copies: Decoded images left out because another has the same bytes.
        colours: What became of the embedded colour profiles of the usable images: how many each,
            by the words of `nadir.data.inspection.colour.Verdict`.
    """

    manifest: pa.Table
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
        listing: Of schema `LISTING`.
        found: What is known about its rows.
        params: The limits.
        vocabulary: (tag, class) for tags whose file names no class.
        removed: sha256 of images that somebody took out.
    """
    frame = _frame(listing, found)
    verdicts = _Verdicts(len(frame))
    _judge_file(frame, params, verdicts)
    decoded = ~np.isin(verdicts.reasons, [str(reason) for reason in UNDECODABLE])
    taken_out = frame["sha256"].isin(list(removed))
    verdicts.give(Reason.REMOVED, taken_out, lambda _row: f"it is listed in {REMOVED}")
    _judge_shape(frame, params, verdicts)
    _judge_tags(frame, params, verdicts)
    _judge_rating(frame, params, verdicts)
    _judge_duplicates(frame, verdicts)
    kept = verdicts.reasons == ""
    return Screened(
        _manifest(listing, found, kept, vocabulary),
        verdicts.table(frame),
        int(decoded.sum()),
        int((decoded & (frame["tag_count"] >= params.min_tags)).sum()),
        int(frame["written"].sum()),
        int(frame["well_formed"].sum()),
        int((verdicts.reasons == str(Reason.DUPLICATE)).sum()),
        _counted(found.facts.column("colour"), kept),
    )


def _counted(words: pa.ChunkedArray, kept: Mask) -> dict[str, int]:
    """How often each word stands in the kept rows, sorted by word; nulls are not counted."""
    found = words.filter(pa.array(kept)).drop_null().value_counts().to_pylist()
    return {row["values"]: row["counts"] for row in sorted(found, key=lambda row: row["values"])}


class _Verdicts:
    """One reason and detail per row; the first one given stays."""

    def __init__(self, rows: int) -> None:
        self.reasons = np.full(rows, "", dtype=object)
        self.details = np.full(rows, "", dtype=object)

    def give(
        self, reason: Reason, where: pd.Series[Any] | Mask, detail: Callable[[int], str]
    ) -> None:
        rows = np.flatnonzero((self.reasons == "") & np.asarray(where))
        self.reasons[rows] = str(reason)
        self.details[rows] = [detail(int(row)) for row in rows]

    def table(self, frame: pd.DataFrame) -> pa.Table:
        rows = np.flatnonzero(self.reasons != "")
        reasons = [str(reason) for reason in self.reasons[rows]]
        columns = [
            pa.array(frame["path"].to_numpy()[rows], pa.string()),
            pa.array(reasons, pa.string()),
            pa.array(self.details[rows], pa.string()),
            pa.array([FIXES[Reason(reason)] for reason in reasons], pa.string()),
        ]
        return pa.Table.from_arrays(columns, schema=QUARANTINE).sort_by("path")


def _frame(listing: pa.Table, found: ListingFacts) -> pd.DataFrame:
    frame: pd.DataFrame = listing.select(["path", "size"]).to_pandas()
    frame["sha256"] = found.facts.column("sha256").to_pandas()
    frame["format"] = found.facts.column("format").to_pandas()
    for name in ("reason", "detail"):
        frame[name] = found.facts.column(name).fill_null("").to_pandas()
        frame[f"tags_{name}"] = found.tags.column(name).fill_null("").to_pandas()
    for name in ("width", "height"):
        frame[name] = found.facts.column(name).fill_null(0).to_numpy()
    for name in ("written", "well_formed"):
        frame[name] = found.tags.column(name).fill_null(0).to_numpy()
    frame["rating"] = found.tags.column("rating").fill_null(UNRATED).to_pandas()
    counts = pc.list_value_length(found.tags.column("tags"))
    frame["tag_count"] = counts.fill_null(0).to_numpy()
    return frame


def _judge_file(frame: pd.DataFrame, params: ValidateParams, verdicts: _Verdicts) -> None:
    details = frame["detail"].to_numpy()
    for reason in UNDECODABLE:
        verdicts.give(reason, frame["reason"] == str(reason), lambda row: details[row])
    # Facts may be remembered from a run with wider limits.
    sizes = frame["size"].to_numpy()
    verdicts.give(
        Reason.TOO_LARGE,
        sizes > params.max_file_bytes,
        lambda row: f"the file has {sizes[row]:,} bytes, more than {params.max_file_bytes:,}",
    )
    width, height = frame["width"].to_numpy(), frame["height"].to_numpy()
    limit = np.where(frame["format"] == "webp", params.max_pixels // 2, params.max_pixels)
    verdicts.give(
        Reason.TOO_LARGE,
        width.astype(np.int64) * height > limit,
        lambda row: f"{width[row]} x {height[row]} has more than {limit[row]:,} pixels",
    )


def _judge_shape(frame: pd.DataFrame, params: ValidateParams, verdicts: _Verdicts) -> None:
    width, height = frame["width"].to_numpy(), frame["height"].to_numpy()
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


def _judge_tags(frame: pd.DataFrame, params: ValidateParams, verdicts: _Verdicts) -> None:
    details = frame["tags_detail"].to_numpy()
    for reason in (Reason.VANISHED, Reason.CANNOT_OPEN, Reason.BAD_TAGS_FILE):
        verdicts.give(reason, frame["tags_reason"] == str(reason), lambda row: details[row])
    # The reader itself was lost, with every tag file in its hands.
    verdicts.give(
        Reason.CANNOT_OPEN,
        frame["tags_reason"].isin([str(reason) for reason in LOST]),
        lambda row: f"its tags could not be read: {details[row]}",
    )
    counts = frame["tag_count"].to_numpy()
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


def _judge_rating(frame: pd.DataFrame, params: ValidateParams, verdicts: _Verdicts) -> None:
    ratings, excluded = frame["rating"].to_numpy(), [rating_word(r) for r in params.exclude_ratings]
    verdicts.give(
        Reason.RATING_EXCLUDED,
        frame["rating"].isin(excluded),
        lambda row: f"its rating is {ratings[row]}",
    )


def _judge_duplicates(frame: pd.DataFrame, verdicts: _Verdicts) -> None:
    """Of usable files with equal bytes the one with the first path stays."""
    usable = frame[verdicts.reasons == ""]
    first = usable.groupby("sha256")["path"].transform("first")
    copies = np.zeros(len(frame), dtype=bool)
    copies[usable.index] = (first != usable["path"]).to_numpy()
    verdicts.give(Reason.DUPLICATE, copies, lambda row: f"same bytes as {first[row]}")


def _manifest(
    listing: pa.Table, found: ListingFacts, kept: Mask, vocabulary: Sequence[tuple[str, str]]
) -> pa.Table:
    """The kept rows by sha256, some at a time: tags are large, and here twice as it is."""
    rows = np.flatnonzero(kept)
    order = pc.sort_indices(found.facts.column("sha256").take(pa.array(rows)))
    rows = rows[order.to_numpy()]
    known = pa.array([tag for tag, _ in vocabulary], pa.string())
    classes = pa.array([kind for _, kind in vocabulary], pa.string())
    pieces = [
        _piece(listing, found, rows[start : start + _AT_ONCE], known, classes)
        for start in range(0, len(rows), _AT_ONCE)
    ]
    return pa.concat_tables([MANIFEST.empty_table(), *pieces])


def _piece(
    listing: pa.Table, found: ListingFacts, rows: Rows, known: pa.Array, classes: pa.Array
) -> pa.Table:
    """Some rows of the manifest."""
    facts, about = take_rows(found.facts, rows), take_rows(found.tags, rows)
    listed = take_rows(listing.select(["path", "repeats"]), rows)
    paths = listed.column("path")
    tags = [_with_classes(part, known, classes) for part in about.column("tags").chunks]
    columns: dict[str, Any] = {name: facts.column(name) for name in facts.column_names}
    columns |= {
        "path": paths,
        "split": pa.array(["train"] * len(paths), pa.string()),
        "tags": pa.chunked_array(tags, TAG_LIST),
        "record_id": pc.coalesce(about.column("record_id"), record_names(paths)),
        "rating": about.column("rating"),
        "captions": about.column("captions"),
        "repeats": listed.column("repeats"),
        "score": about.column("score"),
        "year": about.column("year"),
        "kept_tags": about.column("kept_tags"),
    }
    return pa.Table.from_arrays([columns[name] for name in MANIFEST.names], schema=MANIFEST)


def _with_classes(tags: pa.ListArray, known: pa.Array, classes: pa.Array) -> pa.ListArray:
    """Lists of tags, each without a class given the vocabulary's, else `general`; null is empty."""
    lists = pc.fill_null(tags, pa.scalar([], TAG_LIST)) if tags.null_count else tags
    flat = lists.flatten()
    names, given = flat.field("name"), flat.field("class")
    looked_up = classes.take(pc.index_in(names, known)).fill_null("general")
    final = pc.if_else(pc.equal(given, ""), looked_up, given)
    structs = pa.StructArray.from_arrays([names, final], ["name", "class"])
    lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), structs, type=TAG_LIST)
