"""What a dataset must be like: the expectations, in words for people and for Great Expectations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nadir.config.validate import LimitGate, Severity, ShareGate, ValidateParams


@dataclass(frozen=True)
class Expectation:
    """One thing that must hold.

    Attributes:
        name: Short name, unique.
        sentence: What is expected, for people.
        severity: `critical` stops the pipeline, `warning` reports.
        table: `totals` or `manifest`.
        kind: Class of the expectation in Great Expectations.
        arguments: Its arguments.
        unit: What a total counts, plural; empty for a share.
    """

    name: str
    sentence: str
    severity: Severity
    table: str
    kind: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    unit: str = ""


def suite(params: ValidateParams) -> list[Expectation]:
    """Every expectation, the dataset's own limits included."""
    return [*_about_totals(params), *_about_manifest(params)]


def _about_totals(params: ValidateParams) -> list[Expectation]:
    one, none = {"minimum": 1}, {"maximum": 0}
    return [
        _total("usable_images", "At least one image is usable", "critical", unit="images", **one),
        _total("train_images", "At least one is for training", "critical", unit="images", **one),
        _total(
            "unaccounted_images",
            "Every listed image is either in the manifest or in quarantine",
            "critical",
            unit="images are in neither or both",
            **none,
        ),
        _total(
            "leaking_images",
            "No near-duplicate of a training image is held out",
            "critical",
            unit="held-out images are",
            **none,
        ),
        _total(
            "missing_holdout",
            "Some images are held out for evaluation",
            "warning",
            unit="hold-outs are missing",
            **none,
        ),
        _total(
            "unwanted_ratings",
            "No image has a rating of validate.warn_ratings",
            "warning",
            unit="images have one",
            **none,
        ),
        _share("decodable_share", "of the listed images can be decoded", params.decodable_share),
        _share("usable_share", "of the listed images are usable", params.usable_share),
        _share("tagged_share", "of the images have enough tags", params.tagged_share),
        _share(
            "tag_vocabulary_share",
            "of the tags are in the booru form",
            params.tag_vocabulary_share,
        ),
        *_about_ratings(params),
        *_about_tags_and_copies(params),
        *_about_drift(params),
    ]


def _about_ratings(params: ValidateParams) -> list[Expectation]:
    if not params.exclude_ratings:
        return []
    sentence = "Every image has a rating, since validate.exclude_ratings leaves images out by it"
    unit = "images have none and are used"
    return [_total("unrated_images", sentence, "warning", maximum=0, unit=unit)]


def _about_tags_and_copies(params: ValidateParams) -> list[Expectation]:
    return [
        _share(
            "readable_tag_share",
            "of the tags are in a readable text encoding",
            params.readable_tag_share,
        ),
        _share(
            "recurring_tag_share",
            "of the tags stand at more than one image",
            params.recurring_tag_share,
        ),
        _limit(
            "duplicate_share",
            "of the images have the same bytes as another",
            params.duplicate_share,
        ),
        _limit(
            "near_duplicate_share",
            "of the used images look like another one",
            params.near_duplicate_share,
        ),
    ]


def _about_drift(params: ValidateParams) -> list[Expectation]:
    tags = "of the tag uses differ from the accepted dataset's"
    size = "of the images differ in size or shape from the accepted dataset"
    light = "of the images differ in brightness from the accepted dataset"
    return [
        _limit("tag_drift", tags, params.tag_drift),
        _limit("size_drift", size, params.size_drift),
        _limit("luminance_drift", light, params.luminance_drift),
    ]


def _about_manifest(params: ValidateParams) -> list[Expectation]:
    between = "ExpectColumnValuesToBeBetween"
    side = {"min_value": params.min_side_px}
    return [
        _column(
            "sha256_unique", "No image is in it twice", "sha256", "ExpectColumnValuesToBeUnique"
        ),
        _column("path_unique", "No file is in it twice", "path", "ExpectColumnValuesToBeUnique"),
        _column("width", "Widths keep to validate.min_side_px", "width", between, **side),
        _column("height", "Heights keep to validate.min_side_px", "height", between, **side),
        _column(
            "mean_luminance",
            "Luminance lies between black and white",
            "mean_luminance",
            between,
            min_value=0,
            max_value=1,
        ),
        _column(
            "perceptual_hash",
            "Every image has a perceptual hash",
            "perceptual_hash",
            "ExpectColumnValuesToMatchRegex",
            regex="^[0-9a-f]{16}$",
        ),
        _column(
            "split",
            "Every image is for training or held out",
            "split",
            "ExpectColumnValuesToBeInSet",
            value_set=["train", "holdout"],
        ),
    ]


def _total(
    column: str,
    sentence: str,
    severity: Severity,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    unit: str = "",
) -> Expectation:
    limits = {"column": column, "min_value": minimum, "max_value": maximum}
    kind = "ExpectColumnValuesToBeBetween"
    return Expectation(column, sentence, severity, "totals", kind, limits, unit)


def _share(column: str, what: str, gate: ShareGate) -> Expectation:
    sentence = f"At least {100 * gate.minimum:g} % {what}"
    return _total(column, sentence, gate.severity, minimum=gate.minimum)


def _limit(column: str, what: str, gate: LimitGate) -> Expectation:
    sentence = f"At most {100 * gate.maximum:g} % {what}"
    return _total(column, sentence, gate.severity, maximum=gate.maximum)


def _column(name: str, sentence: str, column: str, kind: str, **arguments: Any) -> Expectation:
    return Expectation(
        name, sentence, "critical", "manifest", kind, {"column": column, **arguments}
    )
