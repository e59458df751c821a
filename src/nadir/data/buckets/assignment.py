"""Give every image of the manifest its bucket, size and crop window (paper §4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.buckets.geometry import assign, cover_sizes, log_aspect, retained_area
from nadir.data.buckets.lists import SDXL, best_buckets, bucket_list
from nadir.ground.chance import fraction_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from numpy.typing import NDArray

    from nadir.config.bucket import BucketParams

    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]


_IMAGES_AT_ONCE = 1 << 17


@dataclass(frozen=True)
class BucketUse:
    """What one bucket holds.

    Attributes:
        width: Pixels.
        height: Pixels.
        images: Images of both splits.
        train: Those to train on.
        upscaled: Those smaller than the bucket.
        retained_area: Mean share of their area that stays visible.
    """

    width: int
    height: int
    images: int
    train: int
    upscaled: int
    retained_area: float


@dataclass(frozen=True)
class FittedImages:
    """The outcome of `fit_images`.

    Attributes:
        table: A `BUCKETS` table of the images that have a bucket, in the manifest's order; where
            there are several resolutions, an image has a row for each canvas, smallest first.
        too_far: [N] images too far from every bucket's aspect ratio.
        too_small: [N] images smaller than their bucket, where those are excluded.
        uses: Every bucket with an image, from the tallest to the widest.
    """

    table: pa.Table
    too_far: Flags
    too_small: Flags
    uses: tuple[BucketUse, ...]

    @property
    def excluded_aspect(self) -> int:
        """Number of images left out for their aspect ratio."""
        return int(self.too_far.sum())

    @property
    def images(self) -> int:
        """Number of images that have a canvas."""
        return len(self.too_far) - self.excluded_aspect - self.excluded_upscale

    @property
    def excluded_upscale(self) -> int:
        """Number of images left out for their size."""
        return int(self.too_small.sum())

    @property
    def upscaled(self) -> int:
        """Number of images that have a bucket and are smaller than it; at higher ones none is."""
        return sum(use.upscaled for use in self.uses)


def fit_images(
    manifest: pa.Table, params: BucketParams, without: Collection[tuple[int, int]] = ()
) -> FittedImages:
    """Fit the images of a manifest, each to one canvas at the most.

    Args:
        manifest: `MANIFEST` columns sha256, width, height, split.
        params: Bucket list, limits, merging and crop rule; `resolutions` are not looked at.
        without: Sizes that are left out of the list.
    """
    sizes = [size for size in bucket_sizes(params) if size not in without]
    images = _Images(
        widths=manifest["width"].to_numpy(),
        heights=manifest["height"].to_numpy(),
        is_train=np.asarray(pc.equal(manifest["split"], "train")),
        buckets=np.array(sizes, dtype=np.int64),
        params=params,
    )
    chosen = _merge_small_buckets(images)
    tables, near, fits = [], [np.zeros(0, bool)], [np.zeros(0, bool)]
    sums = np.zeros((4, len(images.buckets)))
    for piece in images.pieces():
        part, of_part = images.some(piece), chosen[piece]
        near.append(part.is_near(of_part))
        fits.append(part.fits(of_part))
        sha256 = manifest["sha256"].slice(piece.start, piece.stop - piece.start)
        if not fits[-1].all():
            kept = np.flatnonzero(fits[-1])
            sha256, part, of_part = sha256.take(pa.array(kept)), part.some(kept), of_part[kept]
        tables.append(_fitted_table(sha256, part, of_part))
        sums += _sums(part, of_part, tables[-1])
    is_near, fitting = np.concatenate(near), np.concatenate(fits)
    table = (
        pa.concat_tables(tables) if tables else _fitted_table(manifest["sha256"], images, chosen)
    )
    return FittedImages(table, ~is_near, is_near & ~fitting, _uses(images.buckets, sums))


def _sums(images: _Images, chosen: Integers, table: pa.Table) -> NDArray[np.float64]:
    """[4, M] images, training images, upscaled ones and sum of the retained areas by bucket."""
    size = len(images.buckets)
    parts = (chosen, chosen[images.is_train], chosen[images.is_small(chosen)])
    counts = [np.bincount(part, minlength=size) for part in parts]
    retained = np.bincount(chosen, table["retained_area"].to_numpy(), minlength=size)
    return np.array([*counts, retained])


def _uses(buckets: Integers, sums: NDArray[np.float64]) -> tuple[BucketUse, ...]:
    rows = zip(buckets.tolist(), sums.T.tolist(), strict=True)
    return tuple(
        BucketUse(width, height, int(images), int(train), int(upscaled), retained / images)
        for (width, height), (images, train, upscaled, retained) in rows
        if images
    )


def bucket_sizes(params: BucketParams) -> list[tuple[int, int]]:
    """The (width, height) of every bucket that images may go to, sorted."""
    if params.sizes is not None:
        return sorted(SDXL if params.sizes == "sdxl" else params.sizes)
    limits = params.model_dump(
        include={"max_area_px", "step_px", "min_side_px", "max_side_px", "max_aspect_ratio"}
    )
    if params.max_buckets is None:
        return bucket_list(**limits)
    return best_buckets(params.max_buckets, **limits)


@dataclass(frozen=True)
class _Images:
    """Sizes of N images and the M buckets they may go to.

    Millions of images are dealt with in pieces that stay in the processor's cache.
    """

    widths: Integers
    heights: Integers
    is_train: Flags
    buckets: Integers
    params: BucketParams

    def pieces(self) -> list[slice]:
        """Where each piece lies."""
        count = len(self.widths)
        return [
            slice(at, min(at + _IMAGES_AT_ONCE, count)) for at in range(0, count, _IMAGES_AT_ONCE)
        ]

    def some(self, members: Integers | slice) -> _Images:
        """A part of the images, its sides as 64-bit numbers, whose products do not overflow."""
        return _Images(
            self.widths[members].astype(np.int64),
            self.heights[members].astype(np.int64),
            self.is_train[members],
            self.buckets,
            self.params,
        )

    def nearest(self, among: Integers) -> Integers:
        """[N] nearest bucket of those in `among`."""
        return among[assign(self.widths, self.heights, self.buckets[among])]

    def is_near(self, chosen: Integers) -> Flags:
        """[N] whether the aspect ratio is near enough to the chosen bucket's."""
        of_buckets = log_aspect(*self.buckets.T)
        error = np.abs(log_aspect(self.widths, self.heights) - of_buckets[chosen])
        return np.asarray(error <= self.params.max_log_aspect_error)

    def is_small(self, chosen: Integers) -> Flags:
        """[N] whether the chosen bucket is larger than the image on an axis."""
        sizes = self.buckets[chosen]
        return np.asarray((self.widths < sizes[:, 0]) | (self.heights < sizes[:, 1]))

    def fits(self, chosen: Integers) -> Flags:
        """[N] whether the image may be used in the chosen bucket."""
        near = self.is_near(chosen)
        return near & ~self.is_small(chosen) if self.params.upscale == "exclude" else near


def _merge_small_buckets(images: _Images) -> Integers:
    """[N] the nearest bucket, after buckets with too few training images are given up.

    The smallest goes first; its images move to the nearest bucket that is left. A bucket stays,
    however small, when one of its images would then no longer fit: merging never loses an image.
    """
    alive = np.arange(len(images.buckets))
    chosen, fits = np.zeros(len(images.widths), np.int64), np.zeros(len(images.widths), bool)
    for piece in images.pieces():
        part = images.some(piece)
        chosen[piece] = part.nearest(alive)
        fits[piece] = part.fits(chosen[piece])
    # Images that do not fit are left out, so they must not keep a bucket.
    counts = np.bincount(chosen[fits & images.is_train], minlength=len(alive))
    candidates = set(alive.tolist())
    while len(alive) > 1:
        small = [bucket for bucket in candidates if counts[bucket] < images.params.min_images]
        if not small:
            break
        smallest = min(small, key=lambda bucket: (counts[bucket], bucket))
        # Each is tried once, so that the loop ends.
        candidates.remove(smallest)
        members = np.flatnonzero(chosen == smallest)
        moving = images.some(members)
        others = alive[alive != smallest]
        moved = moving.nearest(others)
        moved_fit = moving.fits(moved)
        # One image that would be left out is enough to keep the bucket.
        if (fits[members] & ~moved_fit).any():
            continue
        alive, chosen[members], fits[members] = others, moved, moved_fit
        counts += np.bincount(moved[moved_fit & moving.is_train], minlength=len(counts))
    return chosen


def _fitted_table(sha256: pa.ChunkedArray, images: _Images, chosen: Integers) -> pa.Table:
    sizes = images.buckets[chosen]
    resize_width, resize_height = cover_sizes(images.widths, images.heights, sizes)
    rule, seed = images.params.crop, images.params.seed
    spare_width, spare_height = resize_width - sizes[:, 0], resize_height - sizes[:, 1]
    if rule == "random":
        draw = _uniform(sha256, seed)
        # draw < 1, so the offsets 0 to spare are equally likely, and spare + 1 does not occur.
        left, top = (np.floor(draw * (spare + 1)) for spare in (spare_width, spare_height))
    else:
        # upper_third: a third of the cut comes off the top, two thirds off the bottom, because
        # heads are up there; across, there is no better guess than the centre.
        left = spare_width // 2
        top = spare_height // 3 if rule == "upper_third" else spare_height // 2
    columns = {
        "sha256": sha256,
        "bucket_width": sizes[:, 0],
        "bucket_height": sizes[:, 1],
        "resize_width": resize_width,
        "resize_height": resize_height,
        "crop_left": left.astype(np.int64),
        "crop_top": top.astype(np.int64),
        "retained_area": retained_area(images.widths, images.heights, sizes),
    }
    return pa.table(columns)


def _uniform(sha256: pa.ChunkedArray, seed: int) -> NDArray[np.float64]:
    """[N] numbers in [0, 1), each a function of the image's hash and the seed alone.

    A sha256 is uniform already; the seed turns the circle of all values by one angle.
    """
    # 13 hex digits are 52 bits, which a float64 holds exactly.
    starts = pc.binary_join_element_wise("0x", pc.utf8_slice_codeunits(sha256, 0, 13), "")
    own = starts.cast(pa.int64()).to_numpy()
    turned: NDArray[np.float64] = (own / 16**13 + fraction_of(f"crop/{seed}")) % 1.0
    return turned
