from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nadir.data import large_tables as rows_module
from nadir.data.large_tables import distinct, sorting_order, take_rows
from nadir.data.tables import TAG_LIST


def table_of(lengths: list[int]) -> pa.Table:
    """A text and a list column in chunks of these lengths."""
    number, batches = 0, []
    for length in lengths:
        names = [str(number + i) for i in range(length)]
        tags = [[{"name": name, "class": "general"}] * (int(name) % 3) for name in names]
        columns = [pa.array(names, pa.string()), pa.array(tags, TAG_LIST)]
        batches.append(pa.RecordBatch.from_arrays(columns, ["name", "tags"]))
        number += length
    return pa.Table.from_batches(batches)


@given(
    lengths=st.lists(st.integers(0, 5), min_size=1, max_size=6),
    wanted=st.lists(st.integers(-1, 29), max_size=40),
)
def test_rows_are_those_that_take_gives(lengths: list[int], wanted: list[int]) -> None:
    table = table_of(lengths)
    rows = np.array([row for row in wanted if row < table.num_rows], np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows_module, "_AT_ONCE", 7)
        taken = take_rows(table, rows)
    taken.validate(full=True)
    assert taken.equals(table.take(pa.array(rows, mask=rows < 0)))


def test_an_order_may_be_unsigned_as_sorting_gives_it() -> None:
    table = table_of([3, 2])
    order = np.array([4, 0, 3], np.uint64)
    assert take_rows(table, order).column("name").to_pylist() == ["4", "0", "3"]


def test_nulls_may_be_asked_of_a_table_without_rows() -> None:
    empty = table_of([0]).slice(0, 0)
    assert take_rows(empty, np.array([-1, -1])).to_pylist() == [{"name": None, "tags": None}] * 2
    assert take_rows(empty, np.array([], np.int64)).schema == empty.schema


def test_more_text_than_one_array_holds_is_no_obstacle() -> None:
    # One chunk of 128 MiB, many times over: it costs its memory once.
    big = pa.RecordBatch.from_arrays([pa.array(["x" * (1 << 20)] * 128, pa.string())], ["text"])
    table = pa.Table.from_batches([big] * 17)
    rows = np.arange(0, table.num_rows, 128)
    with pytest.raises(pa.ArrowInvalid, match="overflow"):
        table.take(pa.array(rows))
    assert take_rows(table, rows).num_rows == 17


@given(st.lists(st.integers(0, 3) | st.integers((1 << 64) - 4, (1 << 64) - 1) | st.just(1 << 63)))
def test_the_order_is_the_stable_one(words: list[int]) -> None:
    numbers = np.array(words, np.uint64)
    assert sorting_order(numbers).tolist() == np.argsort(numbers, kind="stable").tolist()


@given(st.lists(st.integers(0, 9) | st.integers((1 << 64) - 4, (1 << 64) - 1)))
def test_different_values_come_in_order(words: list[int]) -> None:
    numbers = np.array(words, np.uint64)
    assert distinct(numbers).tolist() == sorted(set(words))
    assert distinct(numbers).dtype == np.uint64
