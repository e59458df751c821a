"""Tags as numbers: a stable order found fast is the plain one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.manifests import manifest_table, tag_list

from nadir.data import tables
from nadir.data.tags import codes
from nadir.data.tags.codes import TagUses, _stable_order, tag_batches

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 9) | st.integers(0, 2**62), max_size=40))
def test_the_order_is_that_of_a_stable_sort(keys: list[int]) -> None:
    values = np.array(keys, dtype=np.int64)
    np.testing.assert_array_equal(_stable_order(values), np.argsort(values, kind="stable"))


def test_pieces_hold_the_same_images() -> None:
    starts = np.array([0, 2, 2, 5, 6])
    uses = TagUses(starts, np.arange(6, dtype=np.int32))
    assert len(uses) == 4
    assert uses.images().tolist() == [0, 0, 2, 2, 2, 3]
    pieces = list(uses.pieces(3))
    assert [piece.rows.tolist() for piece in pieces] == [[0, 1, 2, 3, 4], [5]]
    assert [piece.starts.tolist() for piece in pieces] == [[0, 2, 2, 5], [0, 1]]


def peak_bytes(pieces: Iterable[object]) -> int:
    """Most that pyarrow holds while the pieces come and go, besides what it held before."""
    before = pa.total_allocated_bytes()
    return max(pa.total_allocated_bytes() - before for _ in pieces)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of 40 row groups whose tags do not pack."""
    monkeypatch.setattr(tables, "_ROWS_PER_GROUP", 250)
    monkeypatch.setattr(codes, "IMAGES_AT_ONCE", 250)
    letters = np.random.default_rng(0).integers(97, 123, (10_000, 400), dtype=np.uint8)
    rows = (
        {"tags": tag_list((bytes(name).decode(), "general") for name in row.reshape(20, 20))}
        for row in letters
    )
    path = tmp_path / "manifest.parquet"
    tables.write_table(manifest_table(rows), path, tables.MANIFEST)
    assert pq.ParquetFile(path).num_row_groups == 40
    return path


def test_a_manifest_is_read_group_by_group_and_not_kept(large: Path) -> None:
    """Kept, its packed bytes alone would be as many as it has."""
    assert peak_bytes(tag_batches(large)) < 0.7 * large.stat().st_size
