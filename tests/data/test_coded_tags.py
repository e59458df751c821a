"""Tags as numbers are the same tags, however they come and lie."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.coded_tags import CODES, TagBook, decode, encode_all
from nadir.data.inspection.fact_cache import KEY, FactCache
from nadir.data.inspection.listing import TAG_FACTS
from nadir.data.large_tables import sorted_by_text
from nadir.data.tables import TAG_LIST
from nadir.ground.chance import fraction_of, fractions_of

if TYPE_CHECKING:
    from pathlib import Path

TEXT = st.text("ab\0é_", max_size=3)
TAG = st.fixed_dictionaries({"name": TEXT, "class": TEXT})
IMAGES = st.lists(st.none() | st.lists(TAG, max_size=4), max_size=12)


def chunks(images: list[Any], size: int) -> pa.ChunkedArray:
    parts = [images[start : start + size] for start in range(0, len(images), size)]
    return pa.chunked_array([pa.array(part, TAG_LIST) for part in parts], TAG_LIST)


@settings(max_examples=60, deadline=None)
@given(IMAGES, st.integers(1, 5), st.integers(0, 3))
def test_what_is_coded_and_decoded_is_what_it_was(images: list[Any], size: int, first: int) -> None:
    # Sliced as well: an array may be a part of a larger one.
    tags, book = chunks(images, size).slice(first), TagBook()
    codes = encode_all(tags, book)
    assert codes.type == CODES
    back = [decode(chunk, *book.pairs()) for chunk in codes.chunks]
    assert [row for chunk in back for row in chunk.to_pylist()] == images[first:]
    names, classes = (column.to_pylist() for column in book.pairs())
    assert len({*zip(names, classes, strict=True)}) == len(names)


def test_dictionary_arrays_are_coded_as_their_texts_are() -> None:
    images = [[{"name": "solo", "class": "general"}, {"name": "x", "class": ""}], None, []]
    plain, book = pa.array(images, TAG_LIST), TagBook()
    fields = [plain.values.field(name).dictionary_encode() for name in ("name", "class")]
    struct = pa.StructArray.from_arrays(fields, ["name", "class"])
    packed = pa.ListArray.from_arrays(plain.offsets, struct, mask=plain.is_null())
    assert book.encode(packed).to_pylist() == book.encode(plain).to_pylist() == [[0, 1], None, []]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | st.text("abcdé\0", max_size=12)), st.integers(1, 5), st.data())
def test_rows_are_sorted_as_their_texts_are(
    texts: list[str | None], size: int, data: st.DataObject
) -> None:
    parts = [pa.array(texts[at : at + size], pa.string()) for at in range(0, len(texts), size)]
    column = pa.chunked_array(parts, pa.string())
    rows = [row for row in range(len(texts)) if data.draw(st.booleans())]
    found, alike = sorted_by_text(column, pa.array(rows, pa.int64()).to_numpy())
    key = [(text or "").encode() for text in texts]
    assert found.tolist() == sorted(rows, key=lambda row: key[row])
    equal = [at for at in range(1, len(rows)) if key[found[at]] == key[found[at - 1]]]
    assert set(equal) <= set(alike.tolist())


def test_many_fractions_are_those_of_each_text() -> None:
    texts = [f"{seed}:{seed**9:016x}" for seed in range(300)]
    assert fractions_of(text.encode() for text in texts).tolist() == [*map(fraction_of, texts)]
    assert fractions_of([]).tolist() == []


@pytest.mark.parametrize("merging", [False, True])
def test_a_cache_with_a_book_keeps_what_one_without_it_does(
    tmp_path: Path, merging: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nadir.data.inspection.fact_cache._MERGE_ABOVE", 2)
    monkeypatch.setattr("nadir.data.inspection.fact_cache._AT_ONCE", 2)
    book = TagBook()
    plain, coded = (FactCache(tmp_path / f"{b}", TAG_FACTS, b) for b in (None, book))
    for version in "123":
        tags = [None, [], *([{"name": f"{n}{version}", "class": ""}] * n for n in range(1, 4))]
        rows = pa.table(
            {"path": [*"abcde"], "size": [1] * 5, "version": [version] * 5, "tags": tags},
        )
        for field in plain.schema:
            if field.name not in rows.column_names:
                rows = rows.append_column(field, pa.nulls(5, field.type))
        rows = rows.select(plain.schema.names).cast(plain.schema)
        for cache in (plain, coded):
            cache.add(rows)
    if merging:
        plain.merge()
        coded.merge()
    held, texts = coded.known(), plain.known()
    assert held.select(KEY).equals(texts.select(KEY))
    assert held.num_rows == (5 if merging else 15)
    back = [decode(chunk, *book.pairs()) for chunk in held.column("tags").chunks]
    assert pa.chunked_array(back).to_pylist() == texts.column("tags").to_pylist()
    # And on the disk they are the same.
    files = [FactCache(cache.folder, TAG_FACTS).known() for cache in (plain, coded)]
    assert files[0].equals(files[1])
