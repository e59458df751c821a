"""Stage `validate`: decode every image, sort out the bad ones, stop on a bad dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nadir.config.compute import ComputeParams
from nadir.config.reader import read_section
from nadir.config.validate import ValidateParams
from nadir.data.gate.accepted_profile import read_reference
from nadir.data.gate.expectations import run_gate
from nadir.data.gate.page import validation_page
from nadir.data.gate.removed import read_removed
from nadir.data.gate.suite import suite
from nadir.data.gate.summary import (
    Dataset,
    describe,
    metrics,
    split,
    stop_on_critical,
    worst_examples,
)
from nadir.data.gate.verdicts import screen
from nadir.data.inspection.inspection import Limits
from nadir.data.inspection.listing import inspect_listing
from nadir.data.tables import (
    LISTING,
    MANIFEST,
    QUARANTINE,
    TAG_CLASSES,
    read_table,
    write_groups,
    write_table,
)
from nadir.data.vocabulary import load_vocabulary
from nadir.ground import artifacts
from nadir.ground.events import emit, say
from nadir.ground.files import read_json, write_json, write_text
from nadir.ground.workspace import work_folder
from nadir.stages.runner import run
from nadir.stages.source import source_of

if TYPE_CHECKING:
    import pyarrow as pa

    from nadir.data.gate.expectations import Outcome
    from nadir.data.inspection.listing import ListingFacts
    from nadir.data.sources.interfaces import Source


def work() -> None:
    """Write manifest, quarantine, page and metrics; then let the gate decide.

    Raises:
        NadirError: The dataset fails an expectation that must hold. All outputs are written before,
            so that the page shows what is wrong.
    """
    params = read_section("validate", ValidateParams)
    source = source_of(layout=read_json(artifacts.SOURCE_FORMAT)["format"])
    dataset = _examine(source, params)
    write_groups(dataset.manifest.pieces(), artifacts.MANIFEST, MANIFEST)
    write_table(dataset.quarantine, artifacts.QUARANTINE, QUARANTINE)
    write_json(artifacts.PROFILE, dataset.profile)
    outcomes = run_gate(suite(params), manifest=artifacts.MANIFEST, totals=dataset.totals)
    write_text(
        artifacts.VALIDATION_PAGE, validation_page(dataset, outcomes, source=source, params=params)
    )
    numbers = metrics(dataset, outcomes)
    write_json(artifacts.VALIDATION, numbers)
    _tell(dataset, outcomes, numbers)
    stop_on_critical(outcomes, dataset.quarantine, str(artifacts.VALIDATION_PAGE))


def _examine(source: Source, params: ValidateParams) -> Dataset:
    listing, removed = read_table(artifacts.LISTING, LISTING), read_removed()
    found = _look(listing, source, params)
    # With millions of images, what nobody reads any more is gigabytes.
    listing = listing.select(["path", "size", "repeats"])
    screened = screen(listing, found, params, [*_supplied(), *load_vocabulary()], removed)
    del found
    return split(screened, listed=listing.num_rows, params=params, reference=read_reference())


def _look(listing: pa.Table, source: Source, params: ValidateParams) -> ListingFacts:
    compute = read_section("compute", ComputeParams)
    limits = Limits(
        params.max_pixels, params.max_file_bytes, params.alpha_background, params.max_seconds
    )
    found = inspect_listing(
        listing,
        source,
        limits=limits,
        memory=work_folder("inspection"),
        workers=compute.workers,
        scheduler=compute.dask_scheduler,
    )
    say(f"validate: {found.looked_at:,} of {listing.num_rows:,} images are new or changed")
    return found


def _supplied() -> list[tuple[str, str]]:
    """(tag, class) of the supplied tag table, which goes before the vocabulary."""
    table = read_table(artifacts.TAG_CLASSES, TAG_CLASSES)
    return list(zip(*(column.to_pylist() for column in table.columns), strict=True))


def _tell(dataset: Dataset, outcomes: list[Outcome], numbers: dict[str, Any]) -> None:
    images = numbers["images"]
    reasons = ", ".join(f"{name} {count:,}" for name, count in dataset.reasons.items())
    say(
        f"validate: {images['used']:,} of {images['listed']:,} images are used "
        f"({images['train']:,} train, {images['holdout']:,} holdout); "
        f"{images['quarantined']:,} quarantined" + (f" ({reasons})" if reasons else "")
    )
    if unusable := dataset.colours.get("unusable"):
        say(
            "WARNING validate: images whose colour profile cannot be used, and which are read as "
            f"sRGB: {unusable:,}"
        )
    warnings = [o for o in outcomes if not o.passed and o.expectation.severity == "warning"]
    for outcome in warnings:
        say(f"WARNING validate: {outcome.text}")
    about_images = any(o.expectation.name in ("usable_share", "tagged_share") for o in warnings)
    for row in worst_examples(dataset.quarantine) if about_images else []:
        say(f"WARNING validate: such as {describe(row)}")
    quarantined = numbers["quarantined"]
    emit("result", stage="validate", **images, reasons=quarantined, **numbers["expectations"])


def main() -> None:
    """Run the stage."""
    run("validate", work)


if __name__ == "__main__":
    main()
