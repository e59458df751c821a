"""From a location in `params.yaml` to the source that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.folder import FolderSource
from nadir.ground.errors import NadirError
from nadir.ground.workspace import resolve_local

if TYPE_CHECKING:
    from nadir.data.sources.base import Source

_WHERE = "params.yaml ingest.source"
_FIX = "set it to a folder with images: nadir run --data FOLDER"


def open_source(location: str, layout: str) -> Source:
    """The source at `location`.

    Args:
        location: `ingest.source`; a relative path counts from the main workspace.
        layout: `ingest.format`; `auto` detects it. Images with tag files beside them (`folder`) are
            the only layout so far, so both mean the same.

    Raises:
        NadirError: Nothing is there, or it is nothing that can be read.
    """
    if "://" in location:
        raise NadirError(
            f"{location} is not a local folder", where=_WHERE, fix="copy the images to a folder"
        )
    if layout not in ("auto", "folder"):
        raise NadirError(f"unknown layout {layout!r}", where="params.yaml ingest.format", fix=_FIX)
    path = resolve_local(location)
    if not path.exists():
        raise NadirError(f"the folder {path} does not exist", where=_WHERE, fix=_FIX)
    if not path.is_dir():
        raise NadirError(f"{path} is a file, not a folder", where=_WHERE, fix=_FIX)
    return FolderSource(str(path.resolve()))
