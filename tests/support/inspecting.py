"""A whole listing inspected at once, as the stage does with one that is a single part."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.inspection.listing import Inspector

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from nadir.data.inspection.inspection import Limits
    from nadir.data.inspection.listing import ListingFacts
    from nadir.data.sources.interfaces import Source


def inspect_listing(
    listing: pa.Table,
    source: Source,
    *,
    limits: Limits,
    memory: Path,
    workers: int,
    scheduler: str | None = None,
) -> ListingFacts:
    """See `Inspector`; what is known is put in order at the end."""
    inspector = Inspector(source, limits, memory, workers, scheduler)
    found = inspector.look(listing)
    inspector.remember()
    return found
