"""The gate: what a dataset must be like, as a Great Expectations suite in code.

Single bad images never reach it, they are in quarantine. It looks at the manifest file that the
stages behind it will read, and at a one-row table of totals. One Checkpoint call checks both.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nadir.config.validate import LimitGate, Severity, ShareGate, ValidateParams

    Total = int | float | None


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


@dataclass(frozen=True)
class Outcome:
    """What came of an expectation; `found` says what was seen instead, or as well."""

    expectation: Expectation
    passed: bool
    found: str

    @property
    def text(self) -> str:
        """The outcome as one line."""
        sentence = self.expectation.sentence
        wanted = sentence[0].lower() + sentence[1:]
        return f"expected: {wanted}; found: {self.found}"


def suite(params: ValidateParams) -> list[Expectation]:
    """Every expectation, the dataset's own limits included."""
    return [*_about_totals(params), *_about_manifest(params)]


def run_gate(
    expectations: list[Expectation], *, manifest: Path, totals: Mapping[str, Total]
) -> list[Outcome]:
    """Check all expectations in one Checkpoint call.

    Args:
        expectations: From `suite`.
        manifest: The written manifest.
        totals: The one row that expectations about `totals` look at, by column.

    Raises:
        RuntimeError: An expectation could not be evaluated; a fault of the suite, not of the data.
    """
    with tempfile.TemporaryDirectory(prefix="nadir-gate-") as folder:
        row = Path(folder) / "totals.parquet"
        # Floats, so that an unknown share is a null of a numeric column.
        columns = {name: pa.array([value], pa.float64()) for name, value in totals.items()}
        pq.write_table(pa.table(columns), row)
        results = _checkpoint(expectations, {"totals": row, "manifest": manifest})
    return [_outcome(each, results[each.name], totals) for each in expectations]


def _checkpoint(expectations: list[Expectation], tables: Mapping[str, Path]) -> dict[str, Any]:
    # Imported here: it takes seconds, and it must see the variable.
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    import great_expectations as gx
    from great_expectations.data_context.types import base

    # In memory from end to end, and no site of docs: the page is ours, readable offline.
    stores = base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    settings = base.DataContextConfig(
        store_backend_defaults=stores,
        analytics_enabled=False,
        progress_bars=base.ProgressBarsConfig(globally=False),
    )
    context = gx.get_context(mode="ephemeral", project_config=settings)
    files = context.data_sources.add_pandas("nadir")
    definitions = []
    for table, path in tables.items():
        members = [each for each in expectations if each.table == table]
        columns = sorted({str(each.arguments["column"]) for each in members})
        asset = files.add_parquet_asset(table, path=path, columns=columns)
        rules = gx.ExpectationSuite(name=table, expectations=[_translate(e) for e in members])
        definition = gx.ValidationDefinition(
            name=table, data=asset.add_batch_definition(table), suite=context.suites.add(rules)
        )
        definitions.append(context.validation_definitions.add(definition))
    checkpoint = gx.Checkpoint(
        name="gate", validation_definitions=definitions, result_format={"result_format": "SUMMARY"}
    )
    result = context.checkpoints.add(checkpoint).run()
    found = [each for run in result.run_results.values() for each in run.results]
    return {each.expectation_config.meta["name"]: each for each in found}


def _translate(each: Expectation) -> Any:
    import great_expectations.expectations as gxe

    return getattr(gxe, each.kind)(
        **each.arguments,
        severity=each.severity,
        description=each.sentence,
        meta={"name": each.name},
    )


def _outcome(each: Expectation, result: Any, totals: Mapping[str, Total]) -> Outcome:
    if not result.success and "unexpected_count" not in result.result:
        msg = f"expectation {each.name} could not be evaluated: {result.exception_info}"
        raise RuntimeError(msg)
    if each.table == "totals":
        return Outcome(each, bool(result.success), _shown(totals[each.name], each.unit))
    seen, bad = result.result["element_count"], result.result["unexpected_count"]
    examples = ", ".join(str(v)[:80] for v in result.result["partial_unexpected_list"][:3])
    found = f"{bad:,} of {seen:,} images do not, such as {examples}" if bad else f"{seen:,} images"
    return Outcome(each, bool(result.success), found)


def _shown(value: Total, unit: str) -> str:
    if value is None:
        return "nothing to measure"
    return f"{value:,} {unit}" if unit else f"{100 * value:.1f} %"


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
        _total(
            "unrated_images",
            "Every image has a rating, since validate.exclude_ratings leaves images out by it",
            "warning",
            unit="images have none and are used",
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
        *_about_tags_and_copies(params),
        *_about_drift(params),
    ]


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
