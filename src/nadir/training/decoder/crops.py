"""The pictures that the decoder learns from: square crops, a pure function of seed and step.

A crop begins at any pixel, so the 8 x 8 grid of images that were JPEG once lies differently in
every crop, and the decoder cannot learn to draw it at the place of its own latents.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import pyarrow.compute as pc

from nadir.data.buckets.batches import BatchPlan
from nadir.ground.chance import Stream, generator
from nadir.ground.errors import NadirError
from nadir.model.sdxl.autoencoder import images_to_tensor
from nadir.model.sdxl.opening import in_room

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    import pyarrow as pa
    import torch
    from PIL import Image

    from nadir.config.decoder import DecoderParams

    Row = Mapping[str, Any]


class Crops:
    """The crops of each step; a context manager, whose threads open the next step's images.

    Args:
        rows: Training images with the columns of manifest and buckets.
        open_row: Gives the image of a row as its bucket fits it.
        params: Batch, crop, seed and number of steps.
        workers: Threads that open images; 0 uses every core.

    Raises:
        NadirError: No image is there, or all are smaller than a crop.
    """

    def __init__(
        self,
        rows: pa.Table,
        open_row: Callable[[Row], Image.Image],
        params: DecoderParams,
        *,
        workers: int = 0,
    ) -> None:
        self.rows = _large_enough(rows, params.crop_px)
        self._open = in_room(open_row)
        self._params = params
        self._plan = BatchPlan([len(self.rows)], params.batch_size, params.seed)
        self._pool = ThreadPoolExecutor(workers or os.cpu_count())
        self._opening: dict[int, list[Future[Image.Image]]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def batch(self, step: int) -> torch.Tensor:
        """The crops of a step (from 0), float32 [B, 3, crop, crop] in [-1, 1].

        Raises:
            NadirError: An image is gone or has changed since `validate`.
        """
        for wanted in range(step, min(step + 2, self._params.steps)):
            if wanted not in self._opening:
                self._opening[wanted] = self._begin(wanted)
        return images_to_tensor([future.result() for future in self._opening.pop(step)])

    def _begin(self, step: int) -> list[Future[Image.Image]]:
        _, positions = self._plan.batch(step)
        rows = self.rows.take(positions).to_pylist()
        return [self._pool.submit(self._crop, row, step, place) for place, row in enumerate(rows)]

    def _crop(self, row: Row, step: int, place: int) -> Image.Image:
        side, image = self._params.crop_px, self._open(row)
        rng = generator(self._params.seed, Stream.CROP, step, place)
        left, top = (int(rng.integers(0, length - side + 1)) for length in image.size)
        return image.crop((left, top, left + side, top + side))


def _large_enough(rows: pa.Table, side: int) -> pa.Table:
    """The rows whose image holds a crop."""
    if not len(rows):
        raise NadirError(
            "there is no training image to train the decoder on",
            where="decoder",
            fix="look into data/quarantine.parquet and data/bucket_quarantine.parquet for where "
            "the images went, or set decoder.steps to 0",
        )
    smaller = pc.min_element_wise(rows["bucket_width"], rows["bucket_height"])
    found = rows.filter(pc.greater_equal(smaller, side))
    if not len(found):
        raise NadirError(
            f"no image holds a crop of {side} x {side} pixels: of the {len(rows):,} training "
            f"images none is larger than {pc.max(smaller).as_py()} pixels on both sides",
            where="params.yaml decoder.crop_px",
            fix="lower decoder.crop_px, or raise bucket.max_area_px",
        )
    return found
