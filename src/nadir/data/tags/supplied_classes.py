"""A table of tags and their classes, for tags whose source names none."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from nadir.data.tables import TAG_CLASSES
from nadir.data.tag_text import CLASSES, class_of_key, normalise_tag
from nadir.data.tags.supplied_tables import Supplied, read_supplied
from nadir.ground.errors import NadirError

_TABLE = Supplied(
    key="ingest.tag_table",
    what="tag table",
    columns={"tag": ("tag", "name"), "class": ("class", "category", "type")},
)
_NUMBERS = {"0": "general", "1": "artist", "3": "copyright", "4": "character", "5": "meta"}
"""The classes' numbers in Danbooru's own tag tables."""


def load_tag_classes(location: str | None, *, endpoint_url: str | None = None) -> pa.Table:
    """The table at `location`, normalised, of schema `TAG_CLASSES`; empty without a location.

    Of tags that become the same when normalised, the first counts.

    Args:
        location: `.csv` with a header line, or `.parquet`; local or `s3://`.
        endpoint_url: Of an S3 server; None takes boto3's own settings.

    Raises:
        NadirError: It cannot be read, lacks a column, or holds a class that there is not.
    """
    if location is None:
        return TAG_CLASSES.empty_table()
    classes: dict[str, str] = {}
    for where, row in read_supplied(_TABLE, location, endpoint_url=endpoint_url):
        name = "" if row["tag"] is None else normalise_tag(str(row["tag"]))
        if name:
            classes.setdefault(name, _class(row["class"], where))
    pairs = sorted(classes.items())
    columns = [pa.array([pair[i] for pair in pairs], pa.string()) for i in range(2)]
    return pa.Table.from_arrays(columns, schema=TAG_CLASSES)


def _class(given: Any, where: str) -> str:
    text = str(given).strip().lower()
    found = _NUMBERS.get(text) or class_of_key(text)
    if not found:
        known = ", ".join(CLASSES)
        raise NadirError(
            f"unknown class {text[:40]!r}; known: {known}, and Danbooru's numbers 0, 1, 3, 4, 5",
            where=where,
            fix=_TABLE.fix,
        )
    return found
