"""Layout `kohya`: of each folder the most complete `meta_*.json`, else an object by image.

That is `meta_lat.json`, else `meta_cap_dd.json`, `meta_clean.json`, `meta_cap.json`, else another,
else JSON of another name with an entry for each image, as taggers write it. The image is the
entry's key: a path with or without its ending, or a bare name, of the file's own folder and below
it, wherever the dataset lay when it was written.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from nadir.data.sources.layouts.metadata_layout import Matching, MetadataLayout

if TYPE_CHECKING:
    from nadir.data.sources.rows.looking import Inside

_ORDER = ("meta_lat.json", "meta_cap_dd.json", "meta_clean.json", "meta_cap.json")


class Kohya(MetadataLayout):
    """The metadata files of sd-scripts."""

    name = "kohya"
    named = r"(?is)(?:^|/)meta_[^/]*\.json$"
    files = named
    matching = Matching(vague=True, own_folder=True)
    # kohya's scripts make the rows of the texts, cleaned.
    rows_first = True

    def fits(self, inside: Inside) -> bool:
        """An entry for each image."""
        return inside.keyed

    def is_inside(self, path: str, inside: Inside) -> bool:  # noqa: ARG002 - by any name
        """Entries that say what images show."""
        return inside.keyed and inside.says

    def chosen(self, paths: list[str]) -> list[str]:
        """One of each folder: every step of kohya's scripts writes all that the one before has."""
        best: dict[str, str] = {}
        for path in sorted(paths, key=_rank):
            best.setdefault(posixpath.dirname(path), path)
        return sorted(best.values())


def _rank(path: str) -> tuple[int, str]:
    name = posixpath.basename(path).lower()
    other = len(_ORDER) + (not re.search(Kohya.named, name))
    return (_ORDER.index(name) if name in _ORDER else other, path)
