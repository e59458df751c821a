"""Hold-out by near-duplicate group: whole groups, stable, about the right share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.gate.leaks import near_any
from nadir.data.gate.near_duplicates import MAX_DISTANCE, hash_values, near_duplicate_groups
from nadir.data.gate.splits import assign_splits as assign

if TYPE_CHECKING:
    from numpy.typing import NDArray


def random_hashes(count: int, seed: int = 0) -> list[str]:
    values = np.random.default_rng(seed).integers(0, 1 << 63, count, dtype=np.uint64)
    return [f"{value:016x}" for value in values.tolist()]


def assign_splits(
    hashes: list[str], *, share: float, seed: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    return assign(hash_values(hashes), share=share, seed=seed)


def groups_by_brute_force(hashes: list[str]) -> list[set[int]]:
    values = [int(text, 16) for text in hashes]
    groups = [{i} for i in range(len(values))]
    for i in range(len(values)):
        for j in range(i):
            if (values[i] ^ values[j]).bit_count() <= MAX_DISTANCE:
                one = next(g for g in groups if i in g)
                other = next(g for g in groups if j in g)
                if one is not other:
                    groups.remove(other)
                    one |= other
    return groups


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 60))
def test_groups_are_the_connected_parts_of_all_close_pairs(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    hashes = random_hashes(count, seed)
    for _ in range(count):
        # A near copy of an earlier image, up to six bits away: some inside the limit, some not.
        value = int(hashes[rng.integers(len(hashes))], 16)
        for bit in rng.choice(64, rng.integers(0, 7), replace=False).tolist():
            value ^= 1 << bit
        hashes.append(f"{value:016x}")
    found = near_duplicate_groups(hash_values(hashes))
    expected = groups_by_brute_force(hashes)
    assert {frozenset(np.flatnonzero(found == g).tolist()) for g in range(found.max() + 1)} == {
        frozenset(group) for group in expected
    }


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 60), st.integers(1, 60))
def test_leaks_are_all_held_out_images_close_to_a_training_image(
    seed: int, count: int, held: int
) -> None:
    rng = np.random.default_rng(seed)
    known = rng.integers(0, 1 << 64, count, dtype=np.uint64)
    wanted = rng.choice(known, held)
    for index in range(held):
        for bit in rng.choice(64, rng.integers(0, 9), replace=False).tolist():
            wanted[index] ^= np.uint64(1 << bit)
    distances = np.bitwise_count(wanted[:, None] ^ known[None, :])
    assert near_any(wanted, known).tolist() == (distances.min(1) <= MAX_DISTANCE).tolist()


def test_leaks_in_a_crowd_are_found_a_few_pairs_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nadir.data.gate.leaks._PAIRS_AT_ONCE", 50)
    known = np.arange(200, dtype=np.uint64)
    wanted = np.array([255 << 8, 1 << 40, 255 << 30], dtype=np.uint64)
    assert near_any(wanted, known).tolist() == [False, True, False]
    assert near_any(known, known[:0]).tolist() == [False] * 200
    assert near_any(wanted[:0], known).tolist() == []


def test_near_duplicates_are_never_on_both_sides() -> None:
    originals = random_hashes(400)
    copies = [f"{int(text, 16) ^ 0b1001:016x}" for text in originals]
    splits, groups = assign_splits(originals + copies, share=0.2, seed=1)
    assert splits[:400].tolist() == splits[400:].tolist()
    assert groups[:400].tolist() == groups[400:].tolist()
    assert 0 < splits.sum() < 800


def test_the_share_is_about_what_was_asked_for() -> None:
    splits, _ = assign_splits(random_hashes(20_000), share=0.05, seed=0)
    assert splits.sum() == pytest.approx(1000, rel=0.1)


def test_order_does_not_matter_and_the_seed_does() -> None:
    hashes = random_hashes(500)
    forward, _ = assign_splits(hashes, share=0.1, seed=0)
    backward, _ = assign_splits(hashes[::-1], share=0.1, seed=0)
    other, _ = assign_splits(hashes, share=0.1, seed=1)
    assert forward.tolist() == backward[::-1].tolist()
    assert forward.tolist() != other.tolist()


def test_a_growing_dataset_keeps_its_holdout() -> None:
    hashes = random_hashes(2000)
    before, _ = assign_splits(hashes[:1000], share=0.1, seed=0)
    after, _ = assign_splits(hashes, share=0.1, seed=0)
    assert after[:1000].tolist() == before.tolist()


def test_look_alikes_that_come_later_leave_held_out_images_held_out() -> None:
    hashes = random_hashes(1000)
    before, _ = assign_splits(hashes, share=0.1, seed=0)
    # One bit less and one bit more: smaller and larger hashes than those of the images.
    alike = [f"{int(text, 16) & (int(text, 16) - 1):016x}" for text in hashes[:200]]
    alike += [f"{int(text, 16) | (int(text, 16) + 1):016x}" for text in hashes[200:400]]
    after, _ = assign_splits(hashes + alike, share=0.1, seed=0)
    assert after[:1000][before].all()
    assert after[1000:].tolist() == after[:400].tolist()


@pytest.mark.parametrize("seed", range(20))
def test_small_datasets_hold_out_at_least_one_image_and_at_most_twice_the_share(seed: int) -> None:
    splits, _ = assign_splits(random_hashes(20, seed), share=0.05, seed=0)
    assert 1 <= splits.sum() <= 2


def test_a_large_group_of_lookalikes_stays_in_training() -> None:
    for seed in range(10):
        hashes = [*random_hashes(50), *["8" * 16] * 30]
        splits, _ = assign_splits(hashes, share=0.05, seed=seed)
        assert not splits[50:].any()


@pytest.mark.parametrize("count", [0, 1, 5])
def test_no_share_or_no_images_means_no_holdout(count: int) -> None:
    assert not assign_splits(random_hashes(count), share=0.0, seed=0)[0].any()
    assert len(assign_splits(random_hashes(count), share=0.5, seed=0)[0]) == count


def test_a_crowd_of_lookalikes_is_split_further_and_nothing_is_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Plain backgrounds: everybody agrees in half of the bits, which are bands of their own.
    monkeypatch.setattr("nadir.data.gate.near_duplicates._CROWD", 8)
    monkeypatch.setattr("nadir.data.gate.near_duplicates._COMPARED_AT_ONCE", 7)
    rng = np.random.default_rng(3)
    low = rng.integers(0, 1 << 32, 150, dtype=np.uint64)
    close = low ^ (np.uint64(1) << rng.integers(0, 32, 150, dtype=np.uint64))
    hashes = [f"{value:016x}" for value in [*low.tolist(), *close.tolist()]]
    found = near_duplicate_groups(hash_values(hashes))
    expected = groups_by_brute_force(hashes)
    assert {frozenset(np.flatnonzero(found == g).tolist()) for g in range(found.max() + 1)} == {
        frozenset(group) for group in expected
    }
