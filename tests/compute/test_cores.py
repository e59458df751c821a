"""Threads for all cores: results in order, few items at a time, faults where they are awaited."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from nadir.compute.cores import on_all_cores, one_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_results_come_in_the_order_of_the_items(threads: int | None) -> None:
    assert list(on_all_cores(lambda item: item**2, range(50), threads)) == [
        item**2 for item in range(50)
    ]


def test_threads_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=30)
    assert sorted(on_all_cores(lambda _: meeting.wait(), range(3), 3)) == [0, 1, 2]


def test_no_more_items_are_taken_than_there_are_threads() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    for done, _ in enumerate(on_all_cores(str, items(), 2), 1):
        assert len(taken) <= done + 2


def test_a_fault_of_the_work_or_of_the_items_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(on_all_cores(lambda item: 1 // item, [2, 1, 0, 3], 2))
    with pytest.raises(ValueError, match="no number"):
        list(on_all_cores(int, (_checked(text) for text in ("1", "no number")), 2))


def test_the_next_item_is_made_meanwhile_and_no_more_than_that() -> None:
    taken: list[int] = []
    made = [threading.Event() for _ in range(9)]

    def items() -> Iterator[int]:
        for item in range(8):
            taken.append(item)
            made[item].set()
            yield item

    for item in one_ahead(items()):
        assert item == 7 or made[item + 1].wait(30)
        assert len(taken) <= item + 2
    assert taken == list(range(8))


def test_a_fault_of_the_next_item_is_raised_after_this_one() -> None:
    ahead = one_ahead(_checked(text) for text in ("1", "no number", "2"))
    assert next(ahead) == "1"
    with pytest.raises(ValueError, match="no number"):
        next(ahead)


def test_who_stops_early_waits_for_nothing_but_the_next_item() -> None:
    ahead = one_ahead(iter(range(10)))
    assert next(ahead) == 0
    ahead.close()  # type: ignore[attr-defined]
    assert list(ahead) == []
    assert list(one_ahead([])) == []


def _checked(text: str) -> str:
    if not text.isdigit():
        msg = f"{text} at all"
        raise ValueError(msg)
    return text
