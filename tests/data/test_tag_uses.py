"""Tags as numbers: a stable order found fast is the plain one."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.tag_uses import TagUses, _stable_order


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
