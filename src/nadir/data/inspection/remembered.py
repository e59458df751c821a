"""Facts for many files: what is remembered, and a look at the rest, some at a time.

Everything is columns; only the chunks in flight are Python objects, so millions of files take no
more memory than their facts do.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.inspection.fact_cache import KEY, FactCache, match
from nadir.data.large_tables import take_rows, valid
from nadir.data.quarantine import PASSING, Reason
from nadir.ground.errors import NadirError
from nadir.ground.events import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

FileKey = tuple[str, int, str]
"""path, size, version."""
Row = dict[str, object]
"""Facts by column; missing ones are null."""

_SAVE_EVERY_S = 15.0
# What Arrow raises for a value that a column's type cannot hold.
_UNFIT = (pa.ArrowException, OverflowError, UnicodeError, TypeError, ValueError)
# Then the facts in memory are saved and forgotten, however quick it went.
_SAVE_ABOVE = 200_000


class Work(Protocol):
    """How files are looked at: in this process, in others, or on a cluster."""

    @property
    def chunk(self) -> int:
        """Files to give it at a time."""
        ...

    def __call__(
        self, chunks: Iterable[Sequence[FileKey]], files: int, /
    ) -> Iterator[tuple[Sequence[FileKey], list[Row]]]:
        """Yield (files, their facts), in any order, of so many files."""
        ...


def complete(
    wanted: pa.Table, cache: FactCache, work: Work, *, unit: str, misfit: Reason
) -> tuple[pa.Table, int]:
    """Facts for each row of `wanted` (nulls where its path is null), and how many were new.

    Args:
        wanted: With the columns `KEY`; rows may be null.
        cache: What is remembered; gets what is found, except what may be otherwise next time. It is
            not merged.
        work: Looks at the files that are new or changed.
        unit: What is counted, plural, for progress.
        misfit: The reason to leave a file out when one of its facts fits no column.

    Raises:
        NadirError: Another run replaced what was found by what it found about other versions.
    """
    known = cache.known(wanted)
    missing = missing_files(wanted, known)
    if missing.num_rows:
        passing = _look(missing, cache, work, unit, misfit)
        known = pa.concat_tables([cache.known(wanted), cache.held(passing)])
    rows = match(wanted, known)
    if lost := int(((rows < 0) & valid(wanted.column("path"))).sum()):
        raise NadirError(
            f"what was found about {lost:,} {unit} is gone again",
            where=str(cache.folder),
            fix="another run has written there meanwhile, about other versions of the same files: "
            "run it again when that one has ended",
        )
    return take_rows(known, rows).drop_columns(KEY), missing.num_rows


def missing_files(wanted: pa.Table, known: pa.Table) -> pa.Table:
    """The rows of `wanted` that `known` does not have, each path once, sorted by path."""
    missing = wanted.filter(pa.array(match(wanted, known) < 0)).drop_null()
    return missing.group_by(KEY, use_threads=False).aggregate([]).sort_by("path")


def _look(missing: pa.Table, cache: FactCache, work: Work, unit: str, misfit: Reason) -> pa.Table:
    """Look at files and remember them; gives back the facts that are not to be remembered."""
    found: list[pa.Table] = []
    passing: list[pa.Table] = [cache.schema.empty_table()]
    saved, rows = time.monotonic(), 0
    progress = Progress("validate", missing.num_rows, unit)

    def save() -> None:
        lasting = pa.concat_tables([cache.schema.empty_table(), *found])
        is_passing = pc.is_in(lasting.column("reason"), pa.array([str(r) for r in PASSING]))
        passing.append(lasting.filter(is_passing))
        cache.add(lasting.filter(pc.invert(is_passing)))
        found.clear()

    for chunk, facts in work(_chunks(missing, work.chunk), missing.num_rows):
        found.append(_table(chunk, facts, cache.schema, misfit))
        rows += len(chunk)
        progress.advance(len(chunk))
        if time.monotonic() - saved > _SAVE_EVERY_S or rows > _SAVE_ABOVE:
            save()
            saved, rows = time.monotonic(), 0
    save()
    return pa.concat_tables(passing)


def _chunks(missing: pa.Table, size: int) -> Iterator[list[FileKey]]:
    for start in range(0, missing.num_rows, size):
        columns = [missing.column(name).slice(start, size).to_pylist() for name in KEY]
        yield list(zip(*columns, strict=True))


def _table(
    chunk: Sequence[FileKey], facts: Sequence[Row], schema: pa.Schema, misfit: Reason
) -> pa.Table:
    """Facts as columns; a fact that its column cannot hold costs its file only."""
    try:
        return _columns(chunk, facts, schema)
    except _UNFIT:
        return _columns(chunk, [_fitting(row, schema, misfit) for row in facts], schema)


def _columns(chunk: Sequence[FileKey], facts: Sequence[Row], schema: pa.Schema) -> pa.Table:
    keys = dict(zip(KEY, zip(*chunk, strict=True), strict=True))
    columns = {
        field.name: keys[field.name]
        if field.name in keys
        else [row.get(field.name) for row in facts]
        for field in schema
    }
    return pa.table(columns, schema=schema)


def _fitting(row: Row, schema: pa.Schema, misfit: Reason) -> Row:
    """The facts of one file, or why there are none."""
    for field in schema:
        value = row.get(field.name)
        try:
            pa.array([value], field.type)
        except _UNFIT:
            # ascii: text that cannot be written would not fit here either.
            detail = f"its {field.name} does not fit the table: {ascii(value)[:80]}"
            return {"reason": str(misfit), "detail": detail}
    return row
