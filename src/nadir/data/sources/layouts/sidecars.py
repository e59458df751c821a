"""Each image with what lies beside it, in a folder as in a tar.

What is said of `x.jpg` is looked for in `x.jpg.tags` and `x.tags`, then under the endings `.txt`,
`.caption` and `.json`, last in waifuc's hidden `.x_meta.json`. Of `x.jpg.txt` and `x.txt` the
longer name counts.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.paths import HIDDEN_TAGS
from nadir.data.sources.columns import (
    images_of,
    listing_table,
    matching,
    rows_of,
    stems,
    tag_sources,
)
from nadir.data.sources.interfaces import FILES

if TYPE_CHECKING:
    Integers = np.ndarray[tuple[int], np.dtype[np.int64]]
    Choice = tuple[pa.Table, Integers]

TAG_NAME = r"(?is)\.(?:txt|json|tags|caption)$"
"""A path of a tag file, as a regular expression."""
_TEXTS = (".tags", ".txt", ".caption")
NO_IMAGE = "not named like an image"
"""What is said of other files."""


def list_sidecars(files: pa.Table) -> tuple[pa.Table, Counter[str]]:
    """Every image of `files` with its tag files.

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


def tag_columns(
    paths: pa.ChunkedArray,
    files: pa.Table,
    rows: pa.Table | None = None,
    *,
    row_first: bool = False,
) -> dict[str, Any]:
    """What says something about each image, as columns of a listing; null without anything.

    Args:
        paths: Of the images.
        files: Tag files among others, of schema `FILES`.
        rows: The row of a metadata file about each image, of schema `FILES`.
        row_first: Whether the tags are the row's even where a text has some.
    """
    stem = stems(paths)
    texts = [_choice(paths, stem, files, ending) for ending in _TEXTS]
    about = [(rows, np.arange(rows.num_rows))] if rows is not None else []
    records = [_choice(paths, stem, files, ".json"), _hidden(stem, files)]
    choices = [*about, *texts, *records] if row_first else [*texts, *about, *records]
    return tag_sources(choices)


def _choice(paths: pa.ChunkedArray, stem: pa.ChunkedArray, files: pa.Table, ending: str) -> Choice:
    """The files of one ending, and each image's among them."""
    named = files.filter(matching(files, rf"(?is)\{ending}$"))
    if not named.num_rows:
        return named, np.full(len(paths), -1, dtype=np.int64)
    bases = pc.utf8_slice_codeunits(named.column("path"), 0, -len(ending))
    # Both names of every image at once: what is known is made ready for looking up but once.
    both = rows_of(pa.chunked_array([*paths.chunks, *stem.chunks], pa.string()), bases)
    found = pc.coalesce(both.slice(0, len(paths)), both.slice(len(paths)))
    return named, _numbers(found)


def _hidden(stem: pa.ChunkedArray, files: pa.Table) -> Choice:
    """Files as waifuc hides them: `.x_meta.json` beside `x.png`."""
    named = files.filter(matching(files, HIDDEN_TAGS))
    if not named.num_rows:
        return named, np.full(len(stem), -1, dtype=np.int64)
    bases = pc.replace_substring_regex(named.column("path"), HIDDEN_TAGS, r"\1\2")
    return named, _numbers(rows_of(stem, bases))


def _numbers(found: pa.ChunkedArray) -> Integers:
    return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)
