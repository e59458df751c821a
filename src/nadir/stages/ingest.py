"""Stage `ingest`: list the source. Cheap, so it always runs; it opens no image."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc

from nadir.config.ingest import IngestParams
from nadir.config.reader import read_section
from nadir.data.sources.detect import open_source
from nadir.data.tables import LISTING, write_table
from nadir.ground.events import emit, say
from nadir.stages.runner import run

OUTPUT = Path("data/listing.parquet")


def work() -> None:
    """Write `data/listing.parquet`.

    Raises:
        NadirError: The source is missing or holds no image.
    """
    params = read_section("ingest", IngestParams)
    source = open_source(params.source, params.format)
    listing = source.list_images()
    write_table(listing.table, OUTPUT, LISTING)
    for note in listing.notes:
        say(f"ingest: {note}")
    images, tagged = listing.table.num_rows, listing.table.column("tags_path").is_valid()
    with_tags, size = pc.sum(tagged).as_py(), pc.sum(listing.table.column("size")).as_py()
    say(
        f"ingest: {images:,} images ({size / 1e6:,.1f} MB), {with_tags:,} with a tag file, "
        f"in {params.source} ({source.format})"
    )
    emit("result", stage="ingest", images=images, with_tag_file=with_tags, bytes=size)


def main() -> None:
    """Run the stage."""
    run("ingest", work)


if __name__ == "__main__":
    main()
