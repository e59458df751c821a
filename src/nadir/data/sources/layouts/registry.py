"""Every layout by its name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.folder import Folder
from nadir.data.sources.layouts.metadata_kinds import METADATA
from nadir.data.sources.layouts.mixed import Mixed
from nadir.data.sources.layouts.stated import Stated
from nadir.data.sources.layouts.webdataset import WebDataset

if TYPE_CHECKING:
    from nadir.data.sources.layouts.layout import Layout

AUTO: Layout = Mixed()
LAYOUTS: tuple[Layout, ...] = (*map(Stated, METADATA), Folder(), WebDataset(), AUTO)
BY_NAME: dict[str, Layout] = {layout.name: layout for layout in LAYOUTS}
"""By the names of `ingest.format`."""
