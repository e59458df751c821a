"""Layout `booru`: dumps of posts, as `posts*.json`, JSON lines, CSV or parquet.

The image is a path in the row, else the file named like `md5` or `id`, or with it in its name.
Files without posts are passed over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc

from nadir.data.large_tables import valid
from nadir.data.quarantine import Reason
from nadir.data.sources.layouts.metadata_layout import Matching, MetadataLayout

if TYPE_CHECKING:
    import pyarrow as pa

    from nadir.data.sources.rows.looking import Inside


class Booru(MetadataLayout):
    """A dump of posts beside their images."""

    name = "booru"
    named = r"(?is)(?:^|/)(?:posts[^/]*|post)\.(?:jsonl|ndjson|json|csv|parquet)$"
    files = r"(?is)(?:\.(?:jsonl|ndjson|csv|parquet)|(?:^|/)(?:posts[^/]*|post)\.json)$"
    matching = Matching(vague=True, keys=("md5", "id"))
    passes_over_strays = True

    def fits(self, inside: Inside) -> bool:
        """Posts, or rows that name images and say what they show."""
        return inside.posts or (inside.names and inside.says)

    def is_inside(self, path: str, inside: Inside) -> bool:  # noqa: ARG002 - by any name
        """Posts; of one by itself only the name says that it is a dump."""
        rows = inside.posts and not inside.keyed and not inside.lone
        return rows and (inside.dump or not (inside.embedded or inside.names))

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
