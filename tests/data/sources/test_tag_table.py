"""A supplied table gives tags their classes, and says what is wrong with it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nadir.data.tables import TAG_CLASSES
from nadir.data.tags.supplied_classes import load_tag_classes
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path


def loaded(path: Path, data: bytes) -> dict[str, str]:
    path.write_bytes(data)
    table = load_tag_classes(str(path))
    assert table.schema.equals(TAG_CLASSES)
    names, classes = (column.to_pylist() for column in table.columns)
    assert names == sorted(names)
    return dict(zip(names, classes, strict=True))


def parquet(**columns: list[Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink)
    return sink.getvalue()


def test_no_table_is_an_empty_one() -> None:
    assert load_tag_classes(None).equals(TAG_CLASSES.empty_table())


@pytest.mark.parametrize(
    "data",
    [
        b"tag,class\nSome One,artist\nsaber,char\nx,general\n",
        b"\xef\xbb\xbfclass,count,tag\nartist,4,some_one\nCharacter,5,saber\ngeneral,1,x\n",
        b"name,category,post_count\nsome_one,1,9\nsaber,4,8\nx,0,7\n",
    ],
)
def test_csv_of_several_kinds_is_read(tmp_path: Path, data: bytes) -> None:
    expected = {"some_one": "artist", "saber": "character", "x": "general"}
    assert loaded(tmp_path / "t.csv", data) == expected


def test_parquet_is_read(tmp_path: Path) -> None:
    data = parquet(name=["a b", "c"], category=[1, 5])
    assert loaded(tmp_path / "t.parquet", data) == {"a_b": "artist", "c": "meta"}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # selected_tags.csv of taggers: 9 is a rating.
        (b"tag_id,name,category,count\n9,general,9,7\n1,saber,4,5\n2,x,0,5\n",
         {"saber": "character", "x": "general"}),
        # Lists for completion have no header; their aliases are no concern.
        (b'1girl,0,9,"1girls,sole_female"\nsome_one,1,8,\n', {"1girl": "general",
         "some_one": "artist"}),
        (b"some one,artist\nsaber,character\n", {"some_one": "artist", "saber": "character"}),
        # e621, which 7 says: species, contributor, lore, and invalid tags.
        (b"id,name,category,post_count\n1,fox,5,3\n2,hi_res,7,3\n3,kin,8,3\n4,zz,6,3\n5,pen,2,3\n",
         {"fox": "general", "hi_res": "meta", "kin": "meta", "pen": "artist"}),
        (b"fox,5,3,\nzz,-1,3,\n", {"fox": "general"}),
        (b"tag,class\nx,metadata\ny,contributor\nz,Rating\n", {"x": "meta", "y": "artist"}),
        (b"name,category\nx,4.0\n", {"x": "character"}),
    ],
)  # fmt: skip
def test_tables_of_other_programs_are_read(
    tmp_path: Path, data: bytes, expected: dict[str, str]
) -> None:
    assert loaded(tmp_path / "t.csv", data) == expected


def test_of_tags_that_become_the_same_the_first_counts(tmp_path: Path) -> None:
    assert loaded(tmp_path / "t.csv", b"tag,class\nA b,artist\na_b,meta\n,meta\n") == {
        "a_b": "artist"
    }


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("t.csv", b"tag,class\na,artist\nb,painter\n",
         r"t\.csv line 3: unknown class 'painter'; known: general, character, copyright, artist"),
        ("t.csv", b"word,kind\na,artist\n",
         r"has the columns word, kind, not tag and class\n  fix: name the columns tag and class"),
        ("t.csv", b"", r"has the columns \(none\), not tag and class"),
        ("t.csv", b"tag,class\nb\n", r"t\.csv line 2: the line has too few cells"),
        ("t.csv", b"tag,class\n\xff,meta\n", "is not UTF-8 CSV"),
        ("t.parquet", b"nonsense", "the tag table is not a parquet file"),
        ("t.parquet", parquet(tag=["a"], **{"class": [2]}), r"t\.parquet row 1: unknown class '2'"),
    ],
)  # fmt: skip
def test_a_wrong_table_says_where_and_what(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    with pytest.raises(NadirError, match=message):
        loaded(tmp_path / name, data)


def test_a_missing_table_is_one_clear_error(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path / "no" / "where.csv"):
        with pytest.raises(NadirError, match=r"ingest\.tag_table: the tag table .* cannot be read"):
            load_tag_classes(str(path))


def test_a_table_may_lie_on_s3(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="t/tags.csv", Body=b"tag,class\na,meta\n")
    assert load_tag_classes(f"s3://{bucket}/t/tags.csv").to_pylist() == [
        {"tag": "a", "class": "meta"}
    ]
    with pytest.raises(NadirError, match="cannot be read"):
        load_tag_classes(f"s3://{bucket}/t/none.csv")
