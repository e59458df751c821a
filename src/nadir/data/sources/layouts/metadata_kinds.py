"""The layouts with metadata files, in the order in which one is preferred where several fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.booru import Booru
from nadir.data.sources.layouts.imagefolder import ImageFolder
from nadir.data.sources.layouts.kohya import Kohya
from nadir.data.sources.layouts.parquet import Parquet

if TYPE_CHECKING:
    from nadir.data.sources.layouts.metadata_layout import MetadataLayout

METADATA: tuple[MetadataLayout, ...] = (ImageFolder(), Booru(), Kohya(), Parquet())
"""Those whose images have rows in metadata files."""
