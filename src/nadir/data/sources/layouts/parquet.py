"""Layout `parquet`: tables that hold images, or name them and say what they show.

The image is in the row, else a path in it, from the file's folder or the root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.data.sources.layouts.booru import holds_posts
from nadir.data.sources.layouts.metadata_layout import Matching, MetadataLayout
from nadir.data.tag_text import class_of_key

if TYPE_CHECKING:
    from nadir.data.sources.layouts.layout import Inside, Look

_NAMES = frozenset({"file_name", "filename", "path", "image", "image_path", "file_path"})
_TEXTS = frozenset({"tags", "text", "caption"})


class Parquet(MetadataLayout):
    """Parquet tables, as datasets on the hub are."""

    name = "parquet"
    files = r"(?is)\.parquet$"
    matching = Matching(from_root=True)

    def is_named(self, look: Look) -> bool:  # noqa: ARG002 - no name says so
        """A parquet file may be anything."""
        return False

    def is_inside(self, look: Look) -> bool:
        """A table of images."""
        return any(_holds_images(table) for table in look.tables(self.files))


def _holds_images(table: Inside) -> bool:
    if holds_posts(table):
        return False
    described = table.keys & _TEXTS or any(class_of_key(key) for key in table.keys)
    return table.embedded or bool(table.keys & _NAMES and described)
