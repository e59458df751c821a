"""The source that the parameters name, as every stage that reads images opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.config.ingest import IngestParams
from nadir.config.reader import read_section
from nadir.data.sources.detect import open_source
from nadir.ground.workspace import work_folder

if TYPE_CHECKING:
    from nadir.data.sources.interfaces import Source


def source_of(params: IngestParams | None = None, *, layout: str | None = None) -> Source:
    """The source of `params.yaml`.

    Args:
        params: Section `ingest`, when it has been read.
        layout: What `ingest` found, where it is known.

    Raises:
        NadirError: Nothing is there, or it is nothing that can be read.
    """
    params = params or read_section("ingest", IngestParams)
    return open_source(
        params.source,
        layout or params.format,
        memory=work_folder("sources"),
        endpoint_url=params.endpoint_url,
        folder_repeats=params.folder_repeats == "auto",
        mask_folder=params.mask_folder,
    )
