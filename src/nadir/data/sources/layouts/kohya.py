"""Layout `kohya`: of each folder the most complete `meta_*.json`.

That is `meta_lat.json`, else `meta_cap_dd.json`, `meta_clean.json`, `meta_cap.json`, else another.
The image is the entry's key: a path with or without its ending, or a bare name, of the file's own
folder and below it, wherever the dataset lay when it was written.
"""

from __future__ import annotations

import posixpath

from nadir.data.sources.layouts.metadata_layout import Matching, MetadataLayout

_ORDER = ("meta_lat.json", "meta_cap_dd.json", "meta_clean.json", "meta_cap.json")


class Kohya(MetadataLayout):
    """The metadata files of sd-scripts."""

    name = "kohya"
    files = r"(?is)(?:^|/)meta_[^/]*\.json$"
    matching = Matching(vague=True, own_folder=True)
    # kohya's scripts make the rows of the texts, cleaned.
    rows_first = True

    def chosen(self, paths: list[str]) -> list[str]:
        """One of each folder: every step of kohya's scripts writes all that the one before has."""
        best: dict[str, str] = {}
        for path in sorted(paths, key=_rank):
            best.setdefault(posixpath.dirname(path), path)
        return sorted(best.values())


def _rank(path: str) -> tuple[int, str]:
    name = posixpath.basename(path)
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), path)
