"""`ingest`: where the images are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nadir.config.base import Section


class IngestParams(Section):
    """The source. No other stage depends on it: moving a dataset recomputes nothing."""

    source: Annotated[str, Field(min_length=1)]
    """Folder of images with tag files beside them; relative to the project."""
    format: Literal["auto", "folder"]
    """`auto` detects the layout; `folder` is images with `.txt` or `.json` sidecars."""
