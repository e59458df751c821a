"""kohya's folders `10_name`: their images are shown ten times, and asked for by the name.

The number is that of the nearest folder of such a name. Numbers with zeros in front, or above
1,000, are somebody's own: `01_sketches`, `2023_summer`. The name counts where an image has no tags
of its own; it reads as a text file with these words beside the image would.
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.sources.columns import TAGS
from nadir.data.sources.interfaces import Content

if TYPE_CHECKING:
    from collections.abc import Iterable

_NUMBER = "0|[1-9][0-9]{0,2}|1000"
_NAMED = rf"(?s)^(?P<path>(?:.*(?:/|::))?(?P<number>{_NUMBER})_(?P<words>[^/]*)/)[^/]*$"
_FOLDER = re.compile(rf"(?s)(?:.*(?:/|::))?(?:{_NUMBER})_([^/]*)/")
_MOST_NAMED = 8
_REGULARISATION = re.compile(r"(?i)(?:^|/)reg(?:ulari[sz]ation)?(?:_?(?:images|data|dir))?/")


def with_folder_repeats(listing: pa.Table) -> tuple[pa.Table, tuple[str, ...]]:
    """A listing with the repeats that its folders name, and with their words where tags are none.

    Args:
        listing: Of schema `LISTING`.

    Returns:
        The listing, and what was found, one sentence each.
    """
    paths = listing.column("path")
    named = pc.match_substring_regex(paths, rf"(?:^|/|::)(?:{_NUMBER})_[^/]*/")
    if not pc.any(named).as_py():
        return listing, ()
    folders = pc.if_else(named, _nearest(paths), None)
    number = pc.struct_field(folders, "number").cast(pa.int32())
    ours = pc.and_(pc.is_valid(number), pc.is_null(listing.column("problem")))
    if not pc.any(ours).as_py():
        return listing, ()
    times = pc.if_else(ours, pc.max_element_wise(number, pa.scalar(1, pa.int32())), None)
    listing = _set(listing, "repeats", times)
    wordless = pc.and_(ours, pc.is_null(listing.column(TAGS[0])))
    wordless = pc.and_(
        wordless, pc.not_equal(pc.utf8_trim_whitespace(pc.struct_field(folders, "words")), "")
    )
    folder = pc.if_else(wordless.fill_null(False), pc.struct_field(folders, "path"), None)
    encoded = folder.combine_chunks().dictionary_encode()
    # Text of one folder at a time: there are few of them.
    contents = [folder_words(path) for path in encoded.dictionary.to_pylist()]
    sizes = pa.array([len(content.data) for content in contents], pa.int64())
    versions = pa.array([content.version for content in contents], pa.string())
    for name, values in zip(TAGS, (encoded.dictionary, sizes, versions), strict=True):
        given = values.take(encoded.indices)
        listing = _set(listing, name, pc.coalesce(listing.column(name), given))
    return listing, tuple(
        _notes(pc.struct_field(folders, "path").filter(ours), times.filter(ours), folder)
    )


def folder_words(path: str) -> Content:
    """What the name of a folder `10_name/` says of the images in it.

    Raises:
        FileNotFoundError: It is not such a folder.
    """
    found = _FOLDER.fullmatch(path)
    if found is None:
        raise FileNotFoundError(2, "the folder's name has no words")
    data = found[1].encode()
    return Content(data, hashlib.blake2b(data, digest_size=8).hexdigest())


def _nearest(paths: pa.ChunkedArray) -> pa.ChunkedArray:
    """Path, number and words of the nearest folder with a number; null without one."""
    found, left = None, paths
    while found is None or pc.any(pc.is_valid(left)).as_py():
        inside = pc.extract_regex(left, _NAMED)
        found = inside if found is None else pc.coalesce(found, inside)
        left = pc.if_else(pc.is_valid(found), None, left)
        # One folder less: the name of the next is the last before a slash.
        shorter = pc.replace_substring_regex(left, r"(?s)/[^/]*$", "")
        left = pc.if_else(pc.equal(shorter, left), None, shorter)
    return found


def _set(table: pa.Table, name: str, column: pa.Array | pa.ChunkedArray) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), column)


def _notes(
    folders: pa.ChunkedArray, times: pa.ChunkedArray, words: pa.ChunkedArray
) -> Iterable[str]:
    """Which folders are repeated how often, how many images take their names, and what to set."""
    pairs = pa.table({"folder": folders, "times": times}).group_by(["folder", "times"])
    rows = sorted(pairs.aggregate([([], "count_all")]).to_pylist(), key=lambda row: row["folder"])
    named = [f"{row['folder'].rstrip('/')} {row['times']} x" for row in rows[:_MOST_NAMED]]
    more = f" and {len(rows) - _MOST_NAMED:,} more folders" if len(rows) > _MOST_NAMED else ""
    yield (
        f"repeats in folder names: {', '.join(named)}{more}, {len(folders):,} images in all; "
        "ingest.folder_repeats 'off' reads no numbers"
    )
    if count := len(words) - words.null_count:
        yield f"{count:,} images without tags are asked for by the name of their folder"
    regular = [row["folder"] for row in rows if _REGULARISATION.search(row["folder"])]
    if regular:
        yield (
            f"{', '.join(regular[:_MOST_NAMED])} looks like regularisation images, which count as "
            "others do unless train.regularisation.folders names them"
        )
