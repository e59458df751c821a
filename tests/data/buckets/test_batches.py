"""Batches: every image gets its turn, whatever the number of processes and restarts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nadir.data.buckets.batches import BatchPlan, pixel_batches
from nadir.ground.errors import NadirError

SIZES = st.lists(st.integers(0, 60), min_size=1, max_size=12).filter(any)
SETTINGS = settings(max_examples=60, deadline=None)


def visits_per_image(plan: BatchPlan, steps: int) -> list[np.ndarray]:
    counts = [np.zeros(size, dtype=int) for size in plan.bucket_sizes]
    for step in range(steps):
        bucket, positions = plan.batch(step)
        np.add.at(counts[bucket], positions, 1)
    return counts


@SETTINGS
@given(sizes=SIZES, batch_size=st.integers(1, 40), seed=st.integers(-5, 2**40))
def test_images_of_a_bucket_are_visited_equally_often_give_or_take_one(
    sizes: list[int], batch_size: int, seed: int
) -> None:
    for steps in (1, 7, 50):
        for counts in visits_per_image(BatchPlan(sizes, batch_size, seed), steps):
            assert counts.size == 0 or counts.max() - counts.min() <= 1


@SETTINGS
@given(sizes=SIZES, batch_size=st.sampled_from([8, 16, 24]), seed=st.integers(0, 99))
def test_ranks_share_a_batch_without_loss_and_in_equal_shapes(
    sizes: list[int], batch_size: int, seed: int
) -> None:
    plan = BatchPlan(sizes, batch_size, seed)
    for step in range(10):
        bucket, whole = plan.batch(step)
        for ranks in (1, 2, 8):
            parts = [
                BatchPlan(sizes, batch_size, seed).rank_batch(step, r, ranks) for r in range(ranks)
            ]
            assert {part[0] for part in parts} == {bucket}
            assert {part[1].shape for part in parts} == {(batch_size // ranks,)}
            np.testing.assert_array_equal(np.concatenate([part[1] for part in parts]), whole)


@SETTINGS
@given(sizes=SIZES, batch_size=st.integers(1, 20), seed=st.integers(0, 99), data=st.data())
def test_a_step_asked_for_alone_and_out_of_order_gives_the_same_batch(
    sizes: list[int], batch_size: int, seed: int, data: st.DataObject
) -> None:
    plan = BatchPlan(sizes, batch_size, seed)
    sequence = [plan.batch(step) for step in range(40)]
    jumper = BatchPlan(sizes, batch_size, seed)
    for step in data.draw(st.permutations(range(40)))[:12]:
        bucket, positions = jumper.batch(step)
        assert bucket == sequence[step][0]
        np.testing.assert_array_equal(positions, sequence[step][1])


@SETTINGS
@given(sizes=st.lists(st.integers(0, 10**6), min_size=1, max_size=40).filter(any))
def test_buckets_are_visited_in_proportion_to_their_images(sizes: list[int]) -> None:
    plan = BatchPlan(sizes, 1, 0)
    shares, visits = np.array(sizes) / sum(sizes), np.zeros(len(sizes))
    for step in range(400):
        bucket, earlier = plan.visit(step)
        assert earlier == visits[bucket]
        visits[bucket] += 1
        assert np.abs(visits - (step + 1) * shares).max() < 2


def test_a_booru_like_mix_stays_within_about_one_visit_of_its_shares() -> None:
    sizes = [int(400_000 / (rank + 1)) for rank in range(33)]
    plan = BatchPlan(sizes, 64, 0)
    shares, visits, worst = np.array(sizes) / sum(sizes), np.zeros(33), 0.0
    for step in range(5000):
        visits[plan.visit(step)[0]] += 1
        worst = max(worst, np.abs(visits - (step + 1) * shares).max())
    assert worst < 1.25


def test_one_pass_over_all_images_shows_each_exactly_once_when_buckets_fill_their_batches() -> None:
    plan = BatchPlan([32, 64, 160], 8, seed=3)
    for counts in visits_per_image(plan, (32 + 64 + 160) // 8):
        np.testing.assert_array_equal(counts, 1)


def test_a_run_interrupted_and_resumed_on_other_ranks_keeps_the_order() -> None:
    sizes, whole = [5, 70, 33], BatchPlan([5, 70, 33], 8, seed=1)
    for step in range(100):
        ranks = 2 if step < 37 else 8
        resumed = BatchPlan(sizes, 8, seed=1)
        parts = [resumed.rank_batch(step, rank, ranks)[1] for rank in range(ranks)]
        np.testing.assert_array_equal(np.concatenate(parts), whole.batch(step)[1])


PLANS = st.lists(
    st.tuples(
        st.lists(st.integers(1, 7), max_size=40),  # repeats of a bucket's images
        st.sampled_from([8, 16, 24]),  # its batch size
    ),
    min_size=1,
    max_size=6,
).filter(lambda buckets: any(repeats for repeats, _ in buckets))


def plan_of(buckets: list[tuple[list[int], int]], seed: int) -> BatchPlan:
    repeats = [np.array(of_bucket, dtype=np.int64) for of_bucket, _ in buckets]
    return BatchPlan([len(r) for r in repeats], [size for _, size in buckets], seed, repeats)


@SETTINGS
@given(buckets=PLANS, seed=st.integers(0, 99))
def test_per_repeat_images_of_a_bucket_are_visited_equally_often_give_or_take_one(
    buckets: list[tuple[list[int], int]], seed: int
) -> None:
    for steps in (1, 9, 40):
        for counts, (repeats, _) in zip(
            visits_per_image(plan_of(buckets, seed), steps), buckets, strict=True
        ):
            share = counts / np.array(repeats)
            assert share.size == 0 or share.max() - share.min() <= 1 + 1e-9


@SETTINGS
@given(buckets=PLANS, seed=st.integers(0, 99), start=st.integers(0, 60))
def test_with_repeats_and_uneven_batches_ranks_and_restarts_still_change_nothing(
    buckets: list[tuple[list[int], int]], seed: int, start: int
) -> None:
    plan = plan_of(buckets, seed)
    for step in range(start, start + 5):
        bucket, whole = plan.batch(step)
        assert len(whole) == buckets[bucket][1]
        for ranks in (1, 2, 8):
            parts = [
                plan_of(buckets, seed).rank_batch(step, rank, ranks)[1] for rank in range(ranks)
            ]
            assert {part.shape for part in parts} == {(len(whole) // ranks,)}
            np.testing.assert_array_equal(np.concatenate(parts), whole)


@SETTINGS
@given(buckets=PLANS, steps=st.integers(0, 60))
def test_images_before_a_step_are_those_of_its_batches(
    buckets: list[tuple[list[int], int]], steps: int
) -> None:
    plan = plan_of(buckets, 0)
    assert plan.images_before(steps) == sum(len(plan.batch(step)[1]) for step in range(steps))


@SETTINGS
@given(buckets=PLANS)
def test_buckets_are_visited_so_that_their_images_are_shown_in_proportion(
    buckets: list[tuple[list[int], int]],
) -> None:
    plan = plan_of(buckets, 0)
    batches = np.array([sum(repeats) / size for repeats, size in buckets])
    visits = np.zeros(len(buckets))
    for step in range(200):
        visits[plan.visit(step)[0]] += 1
        assert np.abs(visits - (step + 1) * batches / batches.sum()).max() < 2


def test_an_epoch_shows_each_image_as_often_as_it_repeats_and_spreads_its_visits() -> None:
    repeats = np.ones(300, dtype=np.int64)
    repeats[:10] = 10
    plan = BatchPlan([300], 10, 0, [repeats])
    assert plan.epoch_images == 390
    shown = np.concatenate([plan.batch(step)[1] for step in range(39)])
    np.testing.assert_array_equal(np.bincount(shown), repeats)
    for image in range(10):
        gaps = np.diff(np.flatnonzero(shown == image))
        # 390 / 10, but for what others push in between.
        assert gaps.min() > 25
        assert gaps.max() < 55


def test_smaller_buckets_fill_the_pixels_of_the_largest_in_multiples() -> None:
    sizes = pixel_batches([(1024, 1024), (512, 512), (768, 512), (1024, 1000)], 16, 4)
    assert sizes == (16, 64, 40, 16)


def test_buckets_with_one_image_and_fewer_images_than_a_batch_are_filled_by_repeats() -> None:
    np.testing.assert_array_equal(BatchPlan([1], 8, 0).batch(5)[1], np.zeros(8))
    bucket, positions = BatchPlan([0, 3], 8, 0).batch(0)
    assert bucket == 1
    assert sorted(np.bincount(positions)) == [2, 3, 3]


def test_epochs_of_a_bucket_differ_and_so_do_seeds() -> None:
    plan = BatchPlan([100], 100, seed=0)
    assert not np.array_equal(plan.batch(0)[1], plan.batch(1)[1])
    assert not np.array_equal(plan.batch(0)[1], BatchPlan([100], 100, seed=1).batch(0)[1])


def test_steps_far_out_need_no_replay() -> None:
    plan = BatchPlan([600_000, 400_000], 256, seed=0)
    bucket, earlier = plan.visit(10**12)
    assert abs(earlier - 10**12 * plan.bucket_sizes[bucket] / 10**6) < 2
    assert len(set(plan.batch(10**12)[1].tolist())) == 256


def test_a_plan_without_images_is_refused() -> None:
    with pytest.raises(NadirError, match="no bucket holds a training image"):
        BatchPlan([0, 0], 8, 0)


def test_a_batch_that_ranks_cannot_share_is_refused_with_the_fix() -> None:
    with pytest.raises(NadirError, match="over 3 processes\n  fix: make it a multiple of 3"):
        BatchPlan([9], 8, 0).rank_batch(0, 0, 3)
    with pytest.raises(NadirError, match="a batch of 20 images cannot be split over 8 processes"):
        BatchPlan([9, 1], [8, 20], 0).rank_batch(0, 0, 8)


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size 0 must be positive"):
        BatchPlan([9], 0, 0)
    with pytest.raises(ValueError, match="step -1 is negative"):
        BatchPlan([9], 8, 0).batch(-1)
