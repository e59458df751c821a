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
from nadir.data.inspection.listing import Inspector
from nadir.data.inspection.parts import inspect_in_parts
from nadir.data.row_groups import ROWS_PER_GROUP
from nadir.data.tables import (
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

PART_ROWS = 3 * ROWS_PER_GROUP
"""Facts of more images lie on disk, and are held in memory a part at a time."""


def work() -> None:
    """Write manifest, quarantine, page and metrics; then let the gate decide.

    Raises:
        NadirError: The dataset fails an expectation that must hold. All outputs are written before,
            so that the page shows what is wrong.
    """
    params = read_section("validate", ValidateParams)
    source = source_of(layout=read_json(artifacts.SOURCE_FORMAT)["format"])
    dataset = _examine(source, params)
    pieces = dataset.manifest.pieces(at_once=PART_ROWS, folder=work_folder("inspection"))
    write_groups(pieces, artifacts.MANIFEST, MANIFEST)
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
    listing, found = _look(source, params)
    vocabulary, removed = [*_supplied(), *load_vocabulary()], read_removed()
    screened = screen(listing, found, params, vocabulary, removed)
    # With millions of images, what nobody reads any more is gigabytes.
    listed = listing.num_rows
    del listing, found
    return split(screened, listed=listed, params=params, reference=read_reference())


def _look(source: Source, params: ValidateParams) -> tuple[pa.Table, ListingFacts]:
    compute, memory = read_section("compute", ComputeParams), work_folder("inspection")
    limits = Limits(
        params.max_pixels, params.max_file_bytes, params.alpha_background, params.max_seconds
    )
    inspector = Inspector(source, limits, memory, compute.workers, compute.dask_scheduler)
    listing, found = inspect_in_parts(artifacts.LISTING, inspector, rows=PART_ROWS, folder=memory)
    say(f"validate: {found.looked_at:,} of {listing.num_rows:,} images are new or changed")
    return listing, found


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
