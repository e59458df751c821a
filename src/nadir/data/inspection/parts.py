"""A large listing, a part at a time: facts of the others lie on disk meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.data.inspection.listing import ListingFacts
from nadir.data.mapped_tables import RowsOnDisk
from nadir.data.row_groups import ROWS_PER_GROUP, regrouped
from nadir.data.tables import LISTING, check_table, unreadable
from nadir.ground.events import say

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from nadir.data.inspection.listing import Inspector

KEPT = ["path", "size", "repeats"]
"""What is asked of the listing after inspection."""


def inspect_in_parts(
    listing: Path, inspector: Inspector, *, rows: int, folder: Path
) -> tuple[pa.Table, ListingFacts]:
    """What `Inspector.look` finds about a whole listing; beyond `rows` images, mapped from disk.

    Args:
        listing: File of schema `LISTING`.
        inspector: Looks at the images.
        rows: Images of a part.
        folder: For what lies on disk; it is there, and nothing is left in it.

    Returns:
        The columns `KEPT` of the listing, and the facts, row for row.

    Raises:
        NadirError: The file is missing or of another schema, or the inspector fails.
    """
    check_table(listing, LISTING)
    listed, parts = pq.read_metadata(listing).num_rows, read_parts(listing, LISTING, rows)
    if listed <= rows:
        whole = next(parts)
        found = inspector.look(whole)
        inspector.remember()
        return whole.select(KEPT), found
    count, looked_at, kept = -(-listed // rows), 0, None
    for number, part in enumerate(parts, start=1):
        say(f"validate: part {number} of {count}, {part.num_rows:,} of {listed:,} images")
        found = inspector.look(part)
        tables = (part.select(KEPT), found.facts, found.tags)
        kept = kept or [RowsOnDisk(table.schema, folder) for table in tables]
        for on_disk, table in zip(kept, tables, strict=True):
            on_disk.add(table)
        looked_at += found.looked_at
        # What has been written takes no memory while the next part is looked at.
        del part, found, tables, table
    inspector.remember()
    listed_rows, facts, tags = (each.read() for each in kept or [])
    return listed_rows, ListingFacts(facts, tags, looked_at, inspector.book)


def read_parts(path: Path, schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Read a file that `nadir.data.tables.write_table` wrote with `schema`, `rows` rows at a time.

    Yields:
        At least one table; an empty one for a file without rows.

    Raises:
        NadirError: The file is missing, unreadable or of another schema.
    """
    check_table(path, schema)
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            batches = file.iter_batches(min(rows, ROWS_PER_GROUP))
            yield from regrouped((pa.Table.from_batches([batch]) for batch in batches), rows)
            if not file.metadata.num_rows:
                yield schema.empty_table()
    except (pa.ArrowException, OSError) as error:
        raise unreadable(path, error) from error
