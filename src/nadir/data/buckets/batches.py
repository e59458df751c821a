"""Which images make up the batch of a step: a pure function of seed and step.

Nothing is drawn and remembered, so a resumed run needs no replay and the number of processes does
not matter. Two rules give the properties:

- *Which bucket.* Buckets are leaves of a Huffman tree over the batches that their images fill. A
  node of weight w whose left child weighs a sends floor((k*a + w//2) / w) of its first k visits to
  the left: the evenest split there is, in integers. A bucket's visits therefore never stray from
  its share of the steps by two or more, because errors halve at least every second level of such a
  tree.
- *Which images.* Visit k of a bucket takes places k*B to (k+1)*B of its endless sequence of
  permutations, one per epoch of the bucket. Visit counts within a bucket differ by at most one.
  An image with r repeats stands r times in an epoch, at even distances: per repeat, its visits
  differ from any other's by at most one.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nadir.ground.chance import Stream, generator
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Node:
    """A bucket, or two subtrees that share its visits."""

    weight: int
    bucket: int = -1
    left: _Node | None = None
    right: _Node | None = None


class BatchPlan:
    """The endless sequence of batches of a bucketed dataset.

    Args:
        bucket_sizes: Training images in each bucket; 0 is allowed and never visited.
        batch_size: Images per batch, over all processes; one number, or one for each bucket.
        seed: Any integer; other seeds give other permutations.
        repeats: For each bucket how often each of its images is shown in an epoch, 1 or more;
            None shows all once.

    Raises:
        NadirError: No bucket holds an image.
    """

    def __init__(
        self,
        bucket_sizes: Sequence[int],
        batch_size: int | Sequence[int],
        seed: int,
        repeats: Sequence[Integers] | None = None,
    ) -> None:
        sizes = (batch_size,) * len(bucket_sizes) if isinstance(batch_size, int) else (*batch_size,)
        if min(sizes, default=1) < 1 or any(size < 0 for size in bucket_sizes):
            msg = f"batch_size {batch_size} must be positive and no bucket size negative"
            raise ValueError(msg)
        if not any(bucket_sizes):
            raise NadirError(
                "no bucket holds a training image",
                where="batches",
                fix="see reports/buckets.json and data/quarantine.parquet for where images went",
            )
        self.bucket_sizes = tuple(int(size) for size in bucket_sizes)
        self.batch_sizes = tuple(int(size) for size in sizes)
        self.seed = seed
        self._repeats = repeats
        self._lengths = self.bucket_sizes
        if repeats is not None:
            self._lengths = tuple(int(of_bucket.sum()) for of_bucket in repeats)
        self._root = _huffman_tree(_batch_shares(self._lengths, self.batch_sizes))
        self._latest: dict[int, tuple[int, Integers]] = {}

    def batch(self, step: int) -> tuple[int, Integers]:
        """The batch of `step` (from 0): its bucket and [B] positions within that bucket."""
        bucket, visit = self.visit(step)
        return bucket, self._positions(bucket, visit * self.batch_sizes[bucket])

    def rank_batch(self, step: int, rank: int, ranks: int) -> tuple[int, Integers]:
        """The part of `step`'s batch that process `rank` of `ranks` works on: [B / ranks].

        Raises:
            NadirError: The batch cannot be split evenly.
        """
        # All buckets, so that the first step fails, not the first visit to a rare one.
        uneven = next((size for size in self.batch_sizes if size % ranks), None)
        if uneven is not None:
            raise NadirError(
                f"a batch of {uneven} images cannot be split over {ranks} processes",
                where="params.yaml train.batch_size, train.batch_multiple",
                fix=f"make it a multiple of {ranks}",
            )
        bucket, positions = self.batch(step)
        share = len(positions) // ranks
        return bucket, positions[rank * share : (rank + 1) * share]

    def visit(self, step: int) -> tuple[int, int]:
        """The bucket of `step`, and how many earlier steps visit the same bucket."""
        if step < 0:
            msg = f"step {step} is negative"
            raise ValueError(msg)
        # Down the tree: `count` is how often this node was visited before. Of its first k visits
        # floor((k share + half) / weight) go left (Bresenham's line with rounding), so this visit
        # goes left exactly where that number rises from k to k + 1, and the number itself is the
        # count to go on with.
        node, count = self._root, step
        while node.left is not None and node.right is not None:
            weight, share, half = node.weight, node.left.weight, node.weight // 2
            before = (count * share + half) // weight
            after = ((count + 1) * share + half) // weight
            node, count = (node.left, before) if after > before else (node.right, count - before)
        return node.bucket, count

    @property
    def epoch_images(self) -> int:
        """Images of one pass over all buckets, repetitions included."""
        return sum(self._lengths)

    def images_before(self, step: int) -> int:
        """Images in all batches before `step`, repetitions included."""
        visits = zip(self.visits_before(step), self.batch_sizes, strict=True)
        return sum(count * size for count, size in visits)

    def visits_before(self, step: int) -> list[int]:
        """How many of the steps before `step` visit each bucket."""
        # The same split, but for all visits at once: each node passes its visits on to both sides.
        visits, nodes = [0] * len(self.bucket_sizes), [(self._root, step)]
        while nodes:
            node, count = nodes.pop()
            if node.left is None or node.right is None:
                visits[node.bucket] = count
                continue
            left = (count * node.left.weight + node.weight // 2) // node.weight
            nodes += [(node.left, left), (node.right, count - left)]
        return visits

    def _positions(self, bucket: int, start: int) -> Integers:
        """Places `start` to `start` + B of the bucket's endless sequence of permutations."""
        size = self._lengths[bucket]
        parts, end = [], start + self.batch_sizes[bucket]
        # A batch may reach over the end of an epoch, and of several where the bucket is smaller.
        while start < end:
            epoch, offset = divmod(start, size)
            part = self._permutation(bucket, epoch)[offset : offset + end - start]
            parts.append(part)
            start += len(part)
        return np.concatenate(parts)

    def _permutation(self, bucket: int, epoch: int) -> Integers:
        """Order of a bucket's images in one epoch; the latest of each bucket is kept."""
        kept = self._latest.get(bucket)
        if kept is not None and kept[0] == epoch:
            return kept[1]
        rng = generator(self.seed, Stream.EPOCH, epoch, bucket)
        repeats = None if self._repeats is None else self._repeats[bucket]
        if repeats is None or repeats.max() == 1:
            order = rng.permutation(self.bucket_sizes[bucket]).astype(np.int64, copy=False)
        else:
            order = _spread(repeats, rng)
        self._latest[bucket] = (epoch, order)
        return order


def pixel_batches(
    buckets: Sequence[tuple[int, int]], batch_size: int, multiple: int
) -> tuple[int, ...]:
    """Batch sizes of buckets that fill about as many pixels each.

    Args:
        buckets: Width and height of each.
        batch_size: Images of a batch of the largest bucket, a multiple of `multiple`.
        multiple: Batch sizes are multiples of this, rounded down.
    """
    budget = batch_size * max(width * height for width, height in buckets)
    return tuple(budget // (width * height) // multiple * multiple for width, height in buckets)


def _batch_shares(lengths: Sequence[int], batch_sizes: Sequence[int]) -> list[int]:
    """Whole numbers in proportion to the batches that each bucket's epoch fills."""
    # An epoch of n images is n / B batches, a fraction where B does not divide n. Times the least
    # common multiple of all B it is a whole number, and the tree's floors stay exact.
    common = math.lcm(*batch_sizes)
    return [length * (common // size) for length, size in zip(lengths, batch_sizes, strict=True)]


def _spread(repeats: Integers, rng: np.random.Generator) -> Integers:
    """An epoch in which image i stands `repeats[i]` times, 1/repeats[i] of the epoch apart."""
    # Turn j of an image with r repeats stands at time (j + u) / r, u drawn once per image: turns
    # lie 1 / r apart, and images with equal r are in random order.
    images = np.repeat(np.arange(len(repeats)), repeats)
    turn = np.arange(len(images)) - np.repeat(np.cumsum(repeats) - repeats, repeats)
    times = (turn + rng.random(len(repeats))[images]) / repeats[images]
    return images[np.argsort(times, kind="stable")]


def _huffman_tree(sizes: Sequence[int]) -> _Node:
    """Merge the two lightest nodes until one is left; equal weights by order of appearance."""
    # A node's split is off by at most 1/2 of a visit, and what is off above goes down times the
    # child's share of its parent. In a Huffman tree no grandchild weighs more than half of its
    # grandparent, so the sum over all levels stays below 2, however deep the tree is.
    heap = [(size, index, _Node(size, bucket=index)) for index, size in enumerate(sizes) if size]
    heapq.heapify(heap)
    order = len(sizes)
    while len(heap) > 1:
        left, right = heapq.heappop(heap)[2], heapq.heappop(heap)[2]
        parent = _Node(left.weight + right.weight, left=left, right=right)
        heapq.heappush(heap, (parent.weight, order, parent))
        order += 1
    return heap[0][2]
