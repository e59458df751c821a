"""A table is read in parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from nadir.data import tables
from nadir.data.inspection.parts import read_parts
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path


def test_a_table_is_read_in_parts_of_the_wanted_size(tmp_path: Path) -> None:
    row = {"reason": "no_tags", "detail": "0 tags", "fix": "add tags"}
    path = tmp_path / "q.parquet"
    for count, rows in ((0, 3), (1, 3), (3, 3), (7, 3), (7, 1), (7, 100)):
        whole = pa.Table.from_pylist([row | {"path": f"{n}"} for n in range(count)])
        tables.write_table(
            whole if count else tables.QUARANTINE.empty_table(), path, tables.QUARANTINE
        )
        parts = list(read_parts(path, tables.QUARANTINE, rows))
        assert [part.num_rows for part in parts[:-1]] == [rows] * (len(parts) - 1)
        assert len(parts) == max(1, -(-count // rows))
        read = tables.read_table(path, tables.QUARANTINE)
        assert pa.concat_tables(parts).to_pylist() == read.to_pylist()
    with pytest.raises(NadirError, match="other columns"):
        next(read_parts(path, tables.MANIFEST, 3))
