"""A table of tags and their classes, for tags whose source names none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from nadir.data.tables import TAG_CLASSES
from nadir.data.tag_forms.classes import DROPPED, RATING, classes_of_numbers, number_of
from nadir.data.tag_text import CLASSES, class_of_name, normalise_tag
from nadir.data.tags.supplied_tables import Supplied, read_supplied
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


_TAG_COLUMNS = ("tag", "name")


def starts_with_data(cells: Sequence[str]) -> bool:
    """Whether the first line of a CSV is a tag and its class, no header."""
    if len(cells) < 2 or cells[0].strip().lower() in _TAG_COLUMNS:
        return False
    return number_of(cells[1]) is not None or bool(class_of_name(cells[1]))


_TABLE = Supplied(
    key="ingest.tag_table",
    what="tag table",
    columns={"tag": _TAG_COLUMNS, "class": ("class", "category", "type")},
    starts_with_data=starts_with_data,
)


def load_tag_classes(location: str | None, *, endpoint_url: str | None = None) -> pa.Table:
    """The table at `location`, normalised, of schema `TAG_CLASSES`; empty without a location.

    Of tags that become the same when normalised, the first counts. Classes may be numbers:
    Danbooru's, or e621's where 6, 7 or 8 occurs. Ratings (9) and e621's invalid tags are no tags.

    Args:
        location: `.csv` or `.parquet`; local or `s3://`. A CSV without a header line has tag and
            class first.
        endpoint_url: Of an S3 server; None takes boto3's own settings.

    Raises:
        NadirError: It cannot be read, lacks a column, or holds a class that there is not.
    """
    if location is None:
        return TAG_CLASSES.empty_table()
    given: dict[str, tuple[str, Any]] = {}
    numbers: set[int] = set()
    for where, row in read_supplied(_TABLE, location, endpoint_url=endpoint_url):
        number = number_of(row["class"])
        numbers |= set() if number is None else {number}
        name = "" if row["tag"] is None else normalise_tag(str(row["tag"]))
        if name:
            given.setdefault(name, (where, row["class"]))
    known = classes_of_numbers(numbers)
    classes = {
        name: found
        for name, (where, value) in sorted(given.items())
        if (found := _class(value, known, where)) not in (DROPPED, RATING)
    }
    columns = [pa.array(column, pa.string()) for column in (list(classes), [*classes.values()])]
    return pa.Table.from_arrays(columns, schema=TAG_CLASSES)


def _class(given: Any, known: Mapping[int, str], where: str) -> str:
    number = number_of(given)
    found = class_of_name(str(given)) if number is None else known.get(number, "")
    if str(given).strip().lower() == RATING:
        return RATING
    if not found:
        names = ", ".join(CLASSES)
        raise NadirError(
            f"unknown class {str(given).strip()[:40]!r}; known: {names}, and the numbers of "
            "Danbooru (0, 1, 3, 4, 5), of e621 (0 to 8) and of taggers (9 for ratings)",
            where=where,
            fix=_TABLE.fix,
        )
    return found
