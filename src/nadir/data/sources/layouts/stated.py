"""A layout with metadata files that `ingest.format` states: no other file is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.detection import plan_for
from nadir.data.sources.layouts.joining import list_plan
from nadir.data.sources.layouts.layout import Layout, Listed
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.metadata_layout import MetadataLayout


class Stated(Layout):
    """A layout with metadata files, wherever they lie.

    Args:
        layout: Which.
    """

    def __init__(self, layout: MetadataLayout) -> None:
        self.layout = layout
        self.name = layout.name

    def list_images(self, store: Store, files: pa.Table, memory: Path | None) -> Listed:
        """Every image with its row, and every row without an image.

        Raises:
            TableError: No metadata file can be read.
            NadirError: There is none.
        """
        plan = plan_for(self.layout, files, store)
        if not plan.parts:
            raise NadirError(
                f"no metadata file of the layout {self.name} (a path like "
                f"{self.layout.files.removeprefix('(?is)')})",
                where=store.location,
                fix="set ingest.format to auto, or to the layout it has",
            )
        return list_plan(plan, store, files, memory)
