"""Rows on disk are those that were given, in whatever order they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.data.test_large_tables import table_of

from nadir.data.large_tables import take_rows
from nadir.data.mapped_tables import RowsOnDisk, in_order

if TYPE_CHECKING:
    from pathlib import Path

# Every example may use the same folder, since nothing is left in it.
SHARED = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LENGTHS = st.lists(st.integers(0, 5), min_size=1, max_size=6)


@SHARED
@given(lengths=LENGTHS)
def test_rows_come_back_as_they_were_given_and_nothing_is_left(
    lengths: list[int], tmp_path: Path
) -> None:
    table = table_of(lengths)
    rows = RowsOnDisk(table.schema, tmp_path)
    for batch in table.to_batches():
        rows.add(batch)
    back = rows.read()
    back.validate(full=True)
    assert back.equals(table)
    assert not list(tmp_path.iterdir())


@SHARED
@given(lengths=LENGTHS, at_once=st.integers(1, 30), data=st.data())
def test_an_order_of_chance_is_what_taking_the_rows_gives(
    lengths: list[int], at_once: int, data: st.DataObject, tmp_path: Path
) -> None:
    table = table_of(lengths)
    shuffled = data.draw(st.permutations(range(table.num_rows)))
    rows = np.array(shuffled[: data.draw(st.integers(0, table.num_rows))], np.int64)
    parts = list(in_order(table, rows, at_once=at_once, folder=tmp_path))
    assert [part.num_rows for part in parts] == [
        min(at_once, len(rows) - start) for start in range(0, len(rows), at_once)
    ]
    assert pa.concat_tables([table.slice(0, 0), *parts]).equals(take_rows(table, rows))
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        RowsOnDisk(table_of([1]).schema, tmp_path / "gone")
