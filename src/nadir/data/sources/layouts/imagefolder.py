"""Layout `imagefolder`: Hugging Face's, with `metadata.jsonl`, `.csv` or `.parquet`.

The image is `file_name` (or `file_names`, or another key that ends so), from the file's folder.
Lines and CSV under another name, as taggers write them, are read likewise.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from nadir.data.sources.containers.parquet_rows import is_name_key
from nadir.data.sources.layouts.metadata_layout import Matching, MetadataLayout

if TYPE_CHECKING:
    from nadir.data.sources.rows.looking import Inside


class ImageFolder(MetadataLayout):
    """Images with a metadata file in their folder or above."""

    name = "imagefolder"
    named = r"(?is)(?:^|/)metadata\.(?:jsonl|csv|parquet)$"
    files = named
    matching = Matching(own_folder=True)

    def fits(self, inside: Inside) -> bool:
        """Rows that name images, or hold them; of posts only by ImageFolder's own key."""
        own = any(is_name_key(key) for key in inside.keys)
        return own or ((inside.names or inside.embedded) and not inside.dump)

    def is_inside(self, path: str, inside: Inside) -> bool:
        """Rows that name images and say what they show."""
        rows = not re.search(r"(?is)\.parquet$", path) and not inside.keyed and not inside.lone
        return rows and inside.names and inside.says and not inside.dump
