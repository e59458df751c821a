"""The supplied tables of aliases and implications.

CSV with a header line, or parquet, with the columns `name` and `tag`, or as boorus call them
`antecedent_name` and `consequent_name`. Of rows with a `status`, those that say `active` count.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from nadir.data.tables import TAG_RULES
from nadir.data.tag_text import normalise_tag
from nadir.data.tags.rules import ALIASES_KEY, IMPLICATIONS_KEY, TagRules
from nadir.data.tags.supplied_tables import Supplied, read_supplied
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COLUMNS = {
    "name": ("name", "antecedent_name"),
    "tag": ("tag", "consequent_name"),
    "status": ("status",),
}
_STATUS = frozenset({"status"})
_ALIASES = Supplied(ALIASES_KEY, "table of aliases", _COLUMNS, _STATUS)
_IMPLICATIONS = Supplied(IMPLICATIONS_KEY, "table of implications", _COLUMNS, _STATUS)


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
    given = (("alias", aliases, _ALIASES), ("implication", implications, _IMPLICATIONS))
    for kind, location, table in given:
        if location is not None:
            pairs = _pairs(table, location, endpoint_url)
            rows += sorted({(kind, name, tag) for name, tag in pairs if name != tag})
    columns = [pa.array([row[i] for row in rows], pa.string()) for i in range(3)]
    rules = pa.Table.from_arrays(columns, schema=TAG_RULES)
    # Circles and contradictions stop the run here, where the tables are named.
    TagRules.of_table(rules)
    return rules


def _pairs(table: Supplied, location: str, endpoint_url: str | None) -> Iterator[tuple[str, str]]:
    for where, row in read_supplied(table, location, endpoint_url=endpoint_url):
        status = str(row.get("status", "active") or "").strip().lower()
        if not status:
            raise NadirError("the rule has no status", where=where, fix=table.fix)
        if status != "active":
            continue
        name, tag = (normalise_tag(str(row[column] or "")) for column in ("name", "tag"))
        if not name or not tag:
            raise NadirError("a rule needs a name and a tag", where=where, fix=table.fix)
        yield name, tag
