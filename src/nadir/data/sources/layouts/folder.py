"""Layout `folder`: loose images with a tag file beside each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.detection import passed_over
from nadir.data.sources.layouts.layout import Layout, Listed, not_read
from nadir.data.sources.layouts.sidecars import list_sidecars

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

    from nadir.data.sources.interfaces import Store


class Folder(Layout):
    """Images and tag files, in subfolders too; also what nothing else speaks for."""

    name = "folder"

    def list_images(self, store: Store, files: pa.Table, memory: Path | None) -> Listed:  # noqa: ARG002 - the names are enough
        """Every image with its tag file."""
        notes = not_read(passed_over(files, self.name))
        return Listed(*list_sidecars(files), [], notes=notes)
