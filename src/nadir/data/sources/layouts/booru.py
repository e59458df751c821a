"""Layout `booru`: dumps of posts, as `posts*.json`, JSON lines, CSV or parquet.

The image is a path in the row, else the file named like `md5` or `id`. Files without posts are
passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from nadir.data.quarantine import Reason
from nadir.data.sources.layouts.metadata_layout import Matching, MetadataLayout, valid

if TYPE_CHECKING:
    import pyarrow as pa

    from nadir.data.sources.layouts.layout import Inside, Look

_POSTS = r"(?is)(?:^|/)posts[^/]*\.(?:jsonl|ndjson|json|csv|parquet)$"
_LINES = r"(?is)\.(?:jsonl|ndjson)$"
_TABLES = r"(?is)\.parquet$"


class Booru(MetadataLayout):
    """A dump of posts beside their images."""

    name = "booru"
    files = r"(?is)(?:\.(?:jsonl|ndjson|csv|parquet)|(?:^|/)posts[^/]*\.json)$"
    matching = Matching(vague=True, keys=("md5", "id"))
    passes_over_strays = True

    def is_named(self, look: Look) -> bool:
        """A file called posts, or lines that are posts."""
        return look.has(_POSTS) or any(holds_posts(table) for table in look.tables(_LINES))

    def is_inside(self, look: Look) -> bool:
        """A table of posts under another name."""
        return any(holds_posts(table) for table in look.tables(_TABLES))

    def is_about_images(self, rows: pa.Table) -> bool:
        """Whether any row is about an image: dumps hold pools, comments and tags as well.

        Where no row can be understood, nothing says that none is.
        """
        named = (valid(rows.column(name)) for name in ("image", "md5", "id"))
        embedded = rows.column("embedded").fill_null(False).to_numpy()
        unsafe = (
            pc.equal(rows.column("reason"), str(Reason.UNSAFE_PATH)).fill_null(False).to_numpy()
        )
        if np.logical_or.reduce([embedded, unsafe, *named]).any():
            return True
        return bool(valid(rows.column("reason")).any() and not valid(rows.column("version")).any())


def holds_posts(table: Inside) -> bool:
    """Whether a table has a booru's columns."""
    return any(key.startswith("tag_string") for key in table.keys) or table.keys >= {"md5", "tags"}
