"""Give every image of the manifest its bucket, size and crop window (paper §4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nadir.data.buckets import assign, bucket_list, cover_sizes, log_aspect, retained_area

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.config.bucket import BucketParams

    Integers = NDArray[np.int64]
    Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class FittedImages:
    """The outcome of `fit_images`.

    Attributes:
        table: A `BUCKETS` table of the images that have a bucket, in the manifest's order.
        excluded_aspect: Images too far from every bucket's aspect ratio.
        excluded_upscale: Images smaller than their bucket, where those are excluded.
        upscaled: Images that have a bucket and are smaller than it.
    """

    table: pa.Table
    excluded_aspect: int
    excluded_upscale: int
    upscaled: int


def fit_images(manifest: pa.Table, params: BucketParams) -> FittedImages:
    """Fit the images of a manifest.

    Args:
        manifest: `MANIFEST` columns sha256, width, height, split.
        params: Bucket list, limits, merging and crop rule.
    """
    buckets = bucket_list(
        max_area_px=params.max_area_px,
        step_px=params.step_px,
        min_side_px=params.min_side_px,
        max_side_px=params.max_side_px,
    )
    images = _Images(
        widths=manifest["width"].to_numpy().astype(np.int64),
        heights=manifest["height"].to_numpy().astype(np.int64),
        is_train=np.asarray(pc.equal(manifest["split"], "train")),
        buckets=np.array(buckets, dtype=np.int64),
        params=params,
    )
    chosen = _merge_small_buckets(images)
    near, small = images.is_near(chosen), images.is_small(chosen)
    fits = images.fits(chosen)
    return FittedImages(
        table=_fitted_table(manifest["sha256"], images, chosen).filter(pa.array(fits)),
        excluded_aspect=int((~near).sum()),
        excluded_upscale=int((near & ~fits).sum()),
        upscaled=int((small & fits).sum()),
    )


@dataclass(frozen=True)
class _Images:
    """Sizes of N images and the M buckets they may go to."""

    widths: Integers
    heights: Integers
    is_train: Flags
    buckets: Integers
    params: BucketParams

    def some(self, members: Integers) -> _Images:
        """A part of the images."""
        return _Images(
            self.widths[members],
            self.heights[members],
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
    chosen = images.nearest(alive)
    fits = images.fits(chosen)
    counts = np.bincount(chosen[fits & images.is_train], minlength=len(alive))
    candidates = set(alive.tolist())
    while len(alive) > 1:
        small = [bucket for bucket in candidates if counts[bucket] < images.params.min_images]
        if not small:
            break
        smallest = min(small, key=lambda bucket: (counts[bucket], bucket))
        candidates.remove(smallest)
        members = np.flatnonzero(chosen == smallest)
        moving = images.some(members)
        others = alive[alive != smallest]
        moved = moving.nearest(others)
        moved_fit = moving.fits(moved)
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
    """[N] numbers in [0, 1), each a function of the image's hash and the seed alone."""
    starts = pc.utf8_slice_codeunits(sha256, 0, 16).to_pylist()
    bits = np.frombuffer(bytes.fromhex("".join(starts)), dtype=">u8").astype(np.uint64)
    # SplitMix64's finaliser: every bit of hash and seed reaches every bit of the result.
    mixed = bits ^ np.random.SeedSequence(seed % 2**64).generate_state(1, np.uint64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) * 2.0**-53, dtype=np.float64)
