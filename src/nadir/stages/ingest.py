"""Stage `ingest`: list the source. Cheap, so it always runs; it opens no image.

What it writes holds nothing of where the source lies, so moving it changes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pyarrow.compute as pc

from nadir.config.ingest import IngestParams
from nadir.config.reader import read_section
from nadir.data.tables import LISTING, MASKS, TAG_CLASSES, TAG_RULES, write_table
from nadir.data.tags.supplied_classes import load_tag_classes
from nadir.data.tags.supplied_rules import load_tag_rules
from nadir.ground import artifacts
from nadir.ground.events import emit, say
from nadir.ground.files import write_json
from nadir.stages.adapter import write_adapter_hash
from nadir.stages.runner import run
from nadir.stages.source import source_of

if TYPE_CHECKING:
    from nadir.data.sources.interfaces import Listing


def work() -> None:
    """Write the listing, the layout it was read by and the supplied tables about tags.

    Raises:
        NadirError: The source is missing or holds no image, a table about tags is wrong, or the
            adapter to train on from is missing.
    """
    params = read_section("ingest", IngestParams)
    write_adapter_hash()
    classes = load_tag_classes(params.tag_table, endpoint_url=params.endpoint_url)
    rules = load_tag_rules(
        params.tag_aliases, params.tag_implications, endpoint_url=params.endpoint_url
    )
    listing = source_of(params).list_images()
    write_table(listing.table, artifacts.LISTING, LISTING)
    write_table(listing.masks, artifacts.MASKS, MASKS)
    write_json(artifacts.SOURCE_FORMAT, {"format": listing.format})
    write_table(classes, artifacts.TAG_CLASSES, TAG_CLASSES)
    write_table(rules, artifacts.TAG_RULES, TAG_RULES)
    for note in listing.notes:
        say(f"ingest: {note}")
    for warning in listing.warnings:
        say(f"WARNING ingest: {warning}")
    if params.tag_table is not None:
        say(f"ingest: classes of {classes.num_rows:,} tags from {params.tag_table}")
    _tell(listing, params)


def _tell(listing: Listing, params: IngestParams) -> None:
    problems = Counter(listing.table.column("problem").drop_null().to_pylist())
    images = listing.table.num_rows - problems.total()
    with_tags = pc.sum(listing.table.column("tags_path").is_valid()).as_py()
    # What lies in parquet files has no size before it is read.
    size = sum(n for n in listing.table.column("size").to_pylist() if n > 0)
    say(
        f"ingest: {images:,} images ({size / 1e6:,.1f} MB), {with_tags:,} with tags, "
        f"in {params.source} ({listing.format})"
    )
    if len(listing.masks):
        say(f"ingest: {len(listing.masks):,} of them have a mask file (encode.masks uses it)")
    if problems:
        reasons = ", ".join(f"{name} {count:,}" for name, count in problems.most_common())
        say(f"WARNING ingest: {problems.total():,} more are named but cannot be used ({reasons})")
    emit(
        "result",
        stage="ingest",
        images=images,
        with_tags=with_tags,
        bytes=size,
        format=listing.format,
        problems=problems.total(),
    )


def main() -> None:
    """Run the stage."""
    run("ingest", work)


if __name__ == "__main__":
    main()
