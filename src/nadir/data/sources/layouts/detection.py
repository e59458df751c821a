"""Which layouts a source has: by the names of its metadata files, by what is in them, by folder.

A folder with metadata files has one layout, the first of `LAYOUTS` that one of them speaks for;
another folder may have another. Tars hold images where no loose image lies in or below their
folder; beside loose images they are more often backups.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.paths import HIDDEN_TAGS
from nadir.data.sources.columns import images_of, matching, stems
from nadir.data.sources.layouts.metadata_kinds import METADATA
from nadir.data.sources.rows.looking import look_inside

if TYPE_CHECKING:
    from nadir.data.sources.interfaces import Store
    from nadir.data.sources.layouts.metadata_layout import MetadataLayout
    from nadir.data.sources.rows.looking import Inside

TABLE_NAME = r"(?is)\.(?:jsonl|ndjson|json|csv|parquet)$"
"""Files that may say something about images."""
_OTHER_TABLES = r"(?is)\.(?:tsv|arrow|feather|sqlite3?|xlsx?|ods|zip|7z|rar|cbz)$"
TAR = r"(?is)\.tar$"
"""Tars by name."""
PACKED_TAR = r"(?is)\.(?:tar\.(?:gz|bz2|xz|zst)|tgz|tbz2|txz)$"
"""Tars that are compressed as a whole."""
_ANY_TAR = rf"(?is)(?:{TAR[5:]}|{PACKED_TAR[5:]})"
SPECIAL = rf"(?is)(?:{TABLE_NAME[5:]}|{_OTHER_TABLES[5:]}|{_ANY_TAR[5:]})"
"""Files that are not a picture, or a text beside one."""
_MOST_LOOKED_INTO = 64
_NOTHING = "it neither holds nor names images with what they show"
_UNREADABLE = "it cannot be understood"
_OTHER_FORM = "a table or archive of this form is not read; tars, CSV, JSON and parquet are"


@dataclass
class Plan:
    """How a source is read.

    Attributes:
        parts: The metadata files of each layout, the preferred layout first.
        unread: (path, why) of tables and JSON files that are not read.
        rivals: Names of layouts that would have fitted, too.
        tars: Paths of the tars whose members are the dataset's.
        embedded: Whether a table holds images.
    """

    parts: list[tuple[MetadataLayout, list[str]]] = field(default_factory=list)
    unread: list[tuple[str, str]] = field(default_factory=list)
    rivals: list[str] = field(default_factory=list)
    tars: list[str] = field(default_factory=list)
    embedded: bool = False


def plan(files: pa.Table, store: Store) -> Plan:
    """How the files are read when nobody says it; opens the beginnings of a few of them.

    Args:
        files: Of schema `FILES`, sorted by path.
        store: Where they lie.
    """
    made, inside = Plan(), _Beginnings(store)
    special, images = _special(files)
    claims = {path: _claim(path, inside) for path in tables_beside(special, images)}
    winners = _winners(claims)
    for layout in METADATA:
        paths = [path for path, kind in claims.items() if _is_for(layout, path, kind, winners)]
        if chosen := layout.chosen(paths):
            made.parts.append((layout, chosen))
            made.unread += [(p, "another file holds the same") for p in set(paths) - set(chosen)]
    read = {path for _, paths in made.parts for path in paths}
    known = read | {path for path, _ in made.unread}
    made.embedded = any(_embeds(inside, path) for path in read)
    made.unread += [(path, _why(kind)) for path, kind in claims.items() if path not in known]
    made.unread += [(path, _OTHER_FORM) for path in _paths(special, _OTHER_TABLES)]
    made.tars = tars_of(special, images)
    others = {kind for kind in claims.values() if not isinstance(kind, str)}
    others -= {layout for layout, _ in made.parts}
    made.rivals = [layout.name for layout in METADATA if layout in others]
    if len(made.tars) < len(_paths(special, _ANY_TAR)):
        made.rivals.append("webdataset")
    return made


def plan_for(layout: MetadataLayout, files: pa.Table, store: Store) -> Plan:
    """How the files are read by a layout that is stated: its metadata files alone."""
    made, inside = Plan(), _Beginnings(store)
    special, images = _special(files)
    tables = tables_beside(special, images)
    paths = [path for path in tables if layout.reads(path) or _claim(path, inside) is layout]
    if chosen := layout.chosen(paths):
        made.parts.append((layout, chosen))
    made.unread = [entry for entry in passed_over(files, layout.name) if entry[0] not in chosen]
    made.tars = tars_of(special, images)
    return made


def passed_over(files: pa.Table, layout: str) -> list[tuple[str, str]]:
    """(path, why) of the tables and JSON files that a stated layout does not read."""
    special, images = _special(files)
    tables = tables_beside(special, images) + _paths(special, _OTHER_TABLES)
    return [(path, f"ingest.format is {layout}") for path in tables]


def _special(files: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Files that are no picture or text beside one; the images, if there are any such files."""
    special = files.filter(matching(files, SPECIAL))
    return special, images_of(files) if special.num_rows else files.slice(0, 0)


def tables_beside(files: pa.Table, images: pa.Table) -> list[str]:
    """Paths of the tables and JSON files that are not the tag file of one image."""
    tables = files.filter(matching(files, TABLE_NAME)).column("path")
    if not len(tables):
        return []
    tables = tables.filter(pc.invert(pc.match_substring_regex(tables, HIDDEN_TAGS)))
    bare = pc.replace_substring_regex(tables, r"(?is)\.json$", "")
    is_json = pc.not_equal(bare, tables)
    paths = images.column("path")
    beside = pc.or_(
        pc.is_in(bare, value_set=_whole(stems(paths))), pc.is_in(bare, value_set=_whole(paths))
    )
    found: list[str] = tables.filter(pc.invert(pc.and_(is_json, beside))).to_pylist()
    return found


def tars_of(files: pa.Table, images: pa.Table) -> list[str]:
    """Paths of the tars in and below whose folder no loose image lies."""
    tars = _paths(files, _ANY_TAR)
    if not tars or not images.num_rows:
        return tars
    loose = np.array(images.column("path").to_pylist(), dtype=object)
    holds = {
        folder: _any_below(loose, folder) for folder in {posixpath.dirname(path) for path in tars}
    }
    return [path for path in tars if not holds[posixpath.dirname(path)]]


def _any_below(paths: np.ndarray[tuple[int], np.dtype[np.object_]], folder: str) -> bool:
    """Whether one of the sorted paths lies in a folder or below."""
    if not folder:
        return len(paths) > 0
    place = int(np.searchsorted(paths, f"{folder}/"))
    return place < len(paths) and str(paths[place]).startswith(f"{folder}/")


class _Beginnings:
    """What the files' beginnings show; of files whose names differ in numbers only, the first's."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, Inside | None] = {}

    def of(self, path: str) -> Inside | None:
        key = posixpath.dirname(path) + "/" + re.sub(r"\d+", "0", posixpath.basename(path))
        if key not in self._seen:
            if len(self._seen) >= _MOST_LOOKED_INTO:
                return None
            self._seen[key] = look_inside(self._store, path)
        return self._seen[key]


def _claim(path: str, beginnings: _Beginnings) -> MetadataLayout | str:
    """The layout that a file speaks for, else why it speaks for none."""
    inside = beginnings.of(path)
    by_name = next((layout for layout in METADATA if re.search(layout.named, path)), None)
    if inside is None:
        return by_name or _UNREADABLE
    if by_name is not None and by_name.fits(inside):
        return by_name
    return next((layout for layout in METADATA if layout.is_inside(path, inside)), _NOTHING)


def _winners(claims: dict[str, MetadataLayout | str]) -> dict[str, MetadataLayout]:
    """The layout of each folder with metadata files."""
    winners: dict[str, MetadataLayout] = {}
    for layout in reversed(METADATA):
        for path, kind in claims.items():
            if kind is layout:
                winners[posixpath.dirname(path)] = layout
    return winners


def _is_for(
    layout: MetadataLayout,
    path: str,
    kind: MetadataLayout | str,
    winners: dict[str, MetadataLayout],
) -> bool:
    """Whether a file is the layout's, by what it is or, if it cannot be read, by its folder."""
    if kind == _UNREADABLE:
        return layout.reads(path) and _nearest(posixpath.dirname(path), winners) is layout
    return kind is layout and winners[posixpath.dirname(path)] is layout


def _nearest(folder: str, winners: dict[str, MetadataLayout]) -> MetadataLayout | None:
    while folder not in winners and folder:
        folder = posixpath.dirname(folder)
    return winners.get(folder)


def _embeds(beginnings: _Beginnings, path: str) -> bool:
    inside = beginnings.of(path)
    return inside is not None and inside.embedded


def _why(kind: MetadataLayout | str) -> str:
    if isinstance(kind, str):
        return kind
    return f"it has the layout {kind.name}, but its folder is read by another"


def _paths(files: pa.Table, pattern: str) -> list[str]:
    found: list[str] = files.filter(matching(files, pattern)).column("path").to_pylist()
    return found


def _whole(column: pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
