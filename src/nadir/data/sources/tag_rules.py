"""The supplied tables of aliases and implications.

CSV with a header line, or parquet, with the columns `name` and `tag`, or as boorus call them
`antecedent_name` and `consequent_name`. Of rows with a `status`, those that say `active` count.
"""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from nadir.data.sources.tag_table import read_supplied
from nadir.data.tables import TAG_RULES
from nadir.data.tag_rules import ALIASES_KEY, IMPLICATIONS_KEY, TagRules
from nadir.data.tags_text import normalise_tag
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = {
    "name": "name",
    "tag": "tag",
    "antecedent_name": "name",
    "consequent_name": "tag",
    "status": "status",
}


def load_tag_rules(
    aliases: str | None, implications: str | None, *, endpoint_url: str | None = None
) -> pa.Table:
    """Two tables as one, normalised and sorted, of schema `TAG_RULES`; empty without any.

    Args:
        aliases: Location of a table, local or `s3://`; None for none.
        implications: The same, of implications.
        endpoint_url: Of an S3 server; None takes boto3's own settings.

    Raises:
        NadirError: A table cannot be read or has other columns, or its rules contradict each other.
    """
    rows: list[tuple[str, str, str]] = []
    given = (("alias", aliases, ALIASES_KEY), ("implication", implications, IMPLICATIONS_KEY))
    for kind, location, key in given:
        if location is not None:
            pairs = _pairs(location, key, endpoint_url)
            rows += sorted({(kind, name, tag) for name, tag in pairs if name != tag})
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(3)]
    table = pa.Table.from_arrays(columns, schema=TAG_RULES)
    # Circles and contradictions stop the run here, where the tables are named.
    TagRules.of_table(table)
    return table


def _pairs(location: str, key: str, endpoint_url: str | None) -> Iterator[tuple[str, str]]:
    data = read_supplied(location, endpoint_url, key=key, columns="name and tag")
    records = _parquet if location.lower().endswith(".parquet") else _csv
    for number, row in enumerate(records(data, location), 1):
        if str(row.get("status", "active")).strip().lower() != "active":
            continue
        name, tag = (normalise_tag(str(row[column] or "")) for column in ("name", "tag"))
        if not name or not tag:
            raise NadirError(
                "a rule needs a name and a tag",
                where=f"{location} row {number}",
                fix="complete or delete the row",
            )
        yield name, tag


def _csv(data: bytes, location: str) -> Iterator[dict[str, Any]]:
    try:
        reader = csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline=""))
        own = _own_columns(reader.fieldnames or (), location)
        for row in reader:
            yield {ours: row[theirs] for ours, theirs in own.items()}
    except (UnicodeDecodeError, csv.Error) as error:
        raise NadirError(
            f"the table is no UTF-8 CSV: {error}", where=location, fix="save it as UTF-8 CSV"
        ) from None


def _parquet(data: bytes, location: str) -> Iterator[dict[str, Any]]:
    try:
        table = pq.read_table(pa.BufferReader(data))
    except (pa.ArrowException, OSError) as error:
        raise NadirError(
            f"the table is no parquet file: {error}", where=location, fix="write it anew"
        ) from None
    own = _own_columns(table.column_names, location)
    yield from table.select(list(own.values())).rename_columns(list(own)).to_pylist()


def _own_columns(names: Any, location: str) -> dict[str, str]:
    """Our names of columns and the table's; other columns are of no interest."""
    own = {_COLUMNS[key]: name for name in names if (key := str(name).strip().lower()) in _COLUMNS}
    if "name" not in own or "tag" not in own:
        raise NadirError(
            f"the table has the columns {', '.join(names) or '(none)'}, not name and tag",
            where=location,
            fix="name the columns name and tag in its first line",
        )
    return own
