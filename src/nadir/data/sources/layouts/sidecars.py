"""Each image with its tags in a file beside it, in a folder as in a tar.

The tags of `x.jpg` are looked for in `x.jpg.txt`, `x.txt`, `x.jpg.json`, `x.json`, in this order.
"""

from __future__ import annotations

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.sources.columns import (
    TAGS,
    images_of,
    listing_table,
    matching,
    rows_of,
    stems,
)
from nadir.data.sources.interfaces import FILES

TAG_NAME = r"(?is)\.(?:txt|json)$"
"""A path of a tag file, as a regular expression."""
_ENDINGS = (".txt", ".json")
NO_IMAGE = "not named like an image"
"""What is said of other files."""


def list_sidecars(files: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """Every image of `files` with its tag file.

    Args:
        files: Of schema `FILES`.

    Returns:
        A table of schema `LISTING`, and how many files were passed over, by reason.
    """
    images = images_of(files)
    tags = files.filter(matching(files, TAG_NAME))
    others = files.num_rows - images.num_rows - tags.num_rows
    ignored = Counter({NO_IMAGE: others} if others else {})
    columns = {name: images.column(name) for name in FILES.names}
    columns |= tag_columns(images.column("path"), tags)
    return listing_table(images.num_rows, **columns), ignored


def tag_columns(paths: pa.ChunkedArray, files: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The tag file of each image as columns `TAGS` of a listing; null without one.

    Args:
        paths: Of the images.
        files: Tag files among others, of schema `FILES`.
    """
    known, stem = files.column("path"), stems(paths)
    for ending in _ENDINGS:
        known = pc.replace_substring_regex(known, rf"(?is)\{ending}$", ending)
    found = pa.nulls(len(paths), pa.int32())
    for ending in _ENDINGS:
        for base in (paths, stem):
            candidates = pc.binary_join_element_wise(base, ending, "")
            found = pc.coalesce(found, rows_of(candidates, known))
    chosen = files.take(found)
    return dict(zip(TAGS, chosen.columns, strict=True))
