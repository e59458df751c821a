"""What the gate's suite needs to know of the manifest's columns, counted by one DuckDB query.

Great Expectations calls Python for each value of a column; it is handed the counts instead. They
are those of its own expectations: nulls (and NaN) count as images, never as unexpected ones, and of
values that stand twice each one counts.
"""

from __future__ import annotations

import glob
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import duckdb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from nadir.data.gate.suite import Expectation

_MEMORY_BYTES = 1 << 30
_EXAMPLES = 3

# Python's floats, as Great Expectations shows them: a float32 with all its digits.
_SHOWN = """CASE typeof({column}) WHEN 'FLOAT' THEN TRY_CAST({column} AS DOUBLE)::VARCHAR
ELSE {column}::VARCHAR END"""
_COUNTED = """SELECT {name}, count(*), count(*) FILTER ({bad}), {first} FILTER ({bad})
FROM manifest"""
# Hashes of values are grouped first: millions of paths and sha256 would take gigabytes.
_REPEATED = """SELECT {name}, (SELECT count(*) FROM manifest), count(*), {first} FROM (
SELECT {column}, place FROM manifest WHERE hash({column}) IN (
SELECT hash({column}) FROM manifest WHERE {column} IS NOT NULL GROUP BY 1 HAVING count(*) > 1
) AND {column} IS NOT NULL QUALIFY count(*) OVER (PARTITION BY {column}) > 1)"""


@dataclass(frozen=True)
class Sum:
    """Images of a manifest, how many of them an expectation does not hold for, and the first."""

    images: int
    unexpected: int
    examples: tuple[str, ...]


def sums(expectations: Sequence[Expectation], manifest: Path) -> dict[str, Sum]:
    """Count for each expectation what does not hold.

    Args:
        expectations: Those about the table `manifest`.
        manifest: The written manifest.

    Returns:
        By the expectation's name: images, unexpected ones, and the first three unexpected values
        in the order of the rows.

    Raises:
        KeyError: A kind of expectation that cannot be counted here.
        duckdb.Error: The manifest cannot be read, or lacks a column.
    """
    if not expectations:
        return {}
    # The path is a glob to DuckDB.
    parameters: list[object] = [glob.escape(str(manifest))]
    branches = [_branch(each, parameters) for each in expectations]
    query = (
        "WITH manifest AS (SELECT *, file_row_number AS place "
        "FROM read_parquet($1, file_row_number = true)) " + " UNION ALL ".join(branches)
    )
    with tempfile.TemporaryDirectory(prefix="nadir-gate-") as folder:
        settings = {"memory_limit": f"{_MEMORY_BYTES}B", "temp_directory": folder}
        with duckdb.connect(config=settings) as database:
            database.execute("SET enable_progress_bar = false")
            rows = database.execute(query, parameters).fetchall()
    return {name: Sum(images, bad, tuple(first or ())) for name, images, bad, first in rows}


def _branch(each: Expectation, parameters: list[object]) -> str:
    """One row: name, images, unexpected ones, first of them."""
    column = '"' + str(each.arguments["column"]).replace('"', '""') + '"'
    parameters.append(each.name)
    parts = {"name": f"${len(parameters)}", "column": column}
    parts["first"] = f"arg_min({_SHOWN.format(column=column)}, place, {_EXAMPLES})"
    if each.kind == "ExpectColumnValuesToBeUnique":
        return _REPEATED.format_map(parts)
    parts["bad"] = _UNEXPECTED[each.kind](each, column, parameters)
    return _COUNTED.format_map(parts)


def _outside(each: Expectation, column: str, parameters: list[object]) -> str:
    limits = [(">", each.arguments.get("max_value")), ("<", each.arguments.get("min_value"))]
    tests = []
    for sign, limit in limits:
        if limit is not None:
            parameters.append(limit)
            tests.append(f"{column} {sign} ${len(parameters)}")
    return f"NOT isnan({column}::DOUBLE) AND ({' OR '.join(tests)})"


def _unlike(each: Expectation, column: str, parameters: list[object]) -> str:
    parameters.append(each.arguments["regex"])
    return f"NOT regexp_matches({column}, ${len(parameters)})"


def _other(each: Expectation, column: str, parameters: list[object]) -> str:
    parameters.append(list(each.arguments["value_set"]))
    return f"NOT list_contains(${len(parameters)}, {column})"


_UNEXPECTED = {
    "ExpectColumnValuesToBeBetween": _outside,
    "ExpectColumnValuesToMatchRegex": _unlike,
    "ExpectColumnValuesToBeInSet": _other,
}
