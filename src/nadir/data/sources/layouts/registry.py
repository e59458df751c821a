"""Every layout, in the order in which one is preferred where several fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.booru import Booru
from nadir.data.sources.layouts.folder import Folder
from nadir.data.sources.layouts.imagefolder import ImageFolder
from nadir.data.sources.layouts.kohya import Kohya
from nadir.data.sources.layouts.parquet import Parquet
from nadir.data.sources.layouts.webdataset import WebDataset

if TYPE_CHECKING:
    from nadir.data.sources.layouts.layout import Layout

FALLBACK: Layout = Folder()
LAYOUTS: tuple[Layout, ...] = (
    ImageFolder(),
    Booru(),
    Kohya(),
    Parquet(),
    FALLBACK,
    WebDataset(),
)
BY_NAME: dict[str, Layout] = {layout.name: layout for layout in LAYOUTS}
"""By the names of `ingest.format`."""
