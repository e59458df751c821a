"""Layout `mixed`, and what `auto` does: each folder as what is in it says.

A folder's metadata files are about the images in it and below, or, where they find none there,
above; tars are read where no loose image lies beside them; every image that no row is about may
have its tags in files beside it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.detection import plan
from nadir.data.sources.layouts.joining import list_plan
from nadir.data.sources.layouts.layout import Layout, Listed

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from nadir.data.sources.interfaces import Store


class Mixed(Layout):
    """Every layout at once, each where its files lie."""

    name = "mixed"

    def list_images(self, store: Store, files: pa.Table, memory: Path | None) -> Listed:
        """Every image of every folder."""
        made = plan(files, store)
        listed = list_plan(made, store, files, memory)
        notes = listed.notes
        if made.rivals:
            others = ", ".join(made.rivals)
            what = listed.layout or self.name
            text = f"read as {what}; it could be {others}, too: ingest.format chooses"
            notes = (*notes, text)
        return listed._replace(notes=notes)
