"""Layout `parquet`: tables that hold images, or name them and say what they show.

The image is in the row, else a path in it, from the file's folder or the root.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nadir.data.sources.layouts.metadata_layout import Matching, MetadataLayout

if TYPE_CHECKING:
    from nadir.data.sources.rows.looking import Inside


class Parquet(MetadataLayout):
    """Parquet tables, as datasets on the hub are."""

    name = "parquet"
    named = r"$^"
    files = r"(?is)\.parquet$"
    matching = Matching(from_root=True)

    def fits(self, inside: Inside) -> bool:
        """Images, or rows that name them and say what they show."""
        return inside.embedded or (inside.names and inside.says)

    def is_inside(self, path: str, inside: Inside) -> bool:
        """A table of images."""
        return re.search(self.files, path) is not None and self.fits(inside)
