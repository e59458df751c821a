"""Tables keep their columns, types and bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nadir.data import tables
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [{"path": "a.png", "reason": "no_tags", "detail": "0 tags", "fix": "add tags"}]


def manifest_rows() -> list[dict[str, object]]:
    return [
        {
            "sha256": "ab" * 32,
            "path": "ü/1.png",
            "width": 10,
            "height": 20,
            "format": "png",
            "split": "train",
            "tags": [{"name": "1girl", "class": "general"}],
            "mean_luminance": 0.5,
            "perceptual_hash": "0" * 16,
            "record_id": "1",
            "rating": "general",
            "repeats": 10,
        }
    ]


def test_a_table_comes_back_as_it_was_written(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(manifest_rows(), schema=tables.MANIFEST)
    tables.write_table(table, tmp_path / "m.parquet", tables.MANIFEST)
    assert tables.read_table(tmp_path / "m.parquet", tables.MANIFEST).equals(table)


def test_equal_tables_give_equal_bytes_whatever_their_chunks_and_metadata(tmp_path: Path) -> None:
    frame = pd.DataFrame(ROWS * 4)
    halves = pa.concat_tables([pa.Table.from_pandas(frame[:1]), pa.Table.from_pandas(frame[1:])])
    tables.write_table(halves, tmp_path / "a", tables.QUARANTINE)
    whole = pa.Table.from_pylist(ROWS * 4, schema=tables.QUARANTINE)
    tables.write_table(whole, tmp_path / "b", tables.QUARANTINE)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_columns_are_reordered_and_cast_to_the_schema(tmp_path: Path) -> None:
    rows = manifest_rows()
    shuffled = pa.Table.from_pylist([dict(reversed(row.items())) for row in rows])
    tables.write_table(shuffled, tmp_path / "m", tables.MANIFEST)
    assert tables.read_table(tmp_path / "m", tables.MANIFEST).schema == tables.MANIFEST


def test_single_columns_can_be_read(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(manifest_rows(), schema=tables.MANIFEST)
    tables.write_table(table, tmp_path / "m", tables.MANIFEST)
    read = tables.read_table(tmp_path / "m", tables.MANIFEST, columns=["width", "sha256"])
    assert read.column_names == ["width", "sha256"]


def test_folder_names_with_an_equals_sign_add_no_columns(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS, schema=tables.QUARANTINE)
    tables.write_table(table, tmp_path / "run=1" / "q", tables.QUARANTINE)
    assert tables.read_table(tmp_path / "run=1" / "q", tables.QUARANTINE).equals(table)


def test_an_empty_table_keeps_its_columns(tmp_path: Path) -> None:
    tables.write_table(tables.BUCKETS.empty_table(), tmp_path / "b", tables.BUCKETS)
    assert tables.read_table(tmp_path / "b", tables.BUCKETS).num_rows == 0


def test_a_table_with_wrong_columns_is_not_written(tmp_path: Path) -> None:
    table = pa.table({"path": ["a"], "reason": ["x"], "detail": [""], "remedy": [""]})
    with pytest.raises(
        ValueError, match=r"missing columns \['fix'\], unknown columns \['remedy'\]"
    ):
        tables.write_table(table, tmp_path / "q", tables.QUARANTINE)
    assert list(tmp_path.iterdir()) == []


def test_nulls_are_refused_in_required_columns_and_kept_in_optional_ones(tmp_path: Path) -> None:
    row = dict.fromkeys(tables.LISTING.names) | {"path": "a", "size": 1, "version": "2"}
    table = pa.Table.from_pylist([row], schema=tables.LISTING)
    tables.write_table(table, tmp_path / "l", tables.LISTING)
    assert tables.read_table(tmp_path / "l", tables.LISTING)["tags_path"].to_pylist() == [None]
    broken = pa.table(
        {"path": pa.array([None], pa.string()), "reason": [""], "detail": [""], "fix": [""]}
    )
    with pytest.raises(ValueError, match="column path holds 1 nulls"):
        tables.write_table(broken, tmp_path / "q", tables.QUARANTINE)


def test_a_missing_table_names_itself_and_the_fix(tmp_path: Path) -> None:
    with pytest.raises(
        NadirError, match=r"tags\.parquet: the table is missing\n  fix: run the stage"
    ):
        tables.read_table(tmp_path / "tags.parquet", tables.TAGS)


def test_a_damaged_table_is_reported_as_such(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"PAR1 but not really")
    with pytest.raises(NadirError, match="not a readable parquet file"):
        tables.read_table(tmp_path / "t", tables.TAGS)


def test_a_table_of_another_schema_says_what_differs(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a"], "reason": [1], "detail": [""]}), tmp_path / "q")
    with pytest.raises(NadirError, match="fix is missing; reason is int64, not string"):
        tables.read_table(tmp_path / "q", tables.QUARANTINE)
