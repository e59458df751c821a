"""Images of the source, opened by threads ahead of what is made of them."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import ImageOps

from nadir.compute.memory_budget import PixelRoom
from nadir.data.buckets.geometry import fit_image
from nadir.data.inspection.decoding import open_image
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future, ThreadPoolExecutor

    import pyarrow as pa
    from PIL import Image

    from nadir.data.sources.interfaces import Source

    Row = Mapping[str, Any]

Opened = TypeVar("Opened")

_BATCHES_AHEAD = 2
# `validate` has seen them, and the hash is compared, so this only has to be large enough.
MAX_BYTES = 1 << 40
"""Of a file that is read whole."""
# Open at their full size at the same time: one of the largest images, or as many as cores decode of
# usual ones. A pixel takes 4 to 12 bytes while it is flattened and shrunk.
PIXELS_AT_ONCE = 1 << 27


@dataclass(frozen=True)
class ImageOpener:
    """Opens an image of the source and fits it to its canvas, if it still is what it was.

    Attributes:
        source: Where the images lie.
        alpha_background: RGB (0-255) behind transparent pixels.
        max_pixels: Largest width times height.
    """

    source: Source
    alpha_background: tuple[int, int, int]
    max_pixels: int

    def __call__(self, row: Row) -> Image.Image:
        """The fitted RGB image of a row of manifest and buckets, mirrored where it says `flipped`.

        Raises:
            NadirError: The file is gone or has changed since `validate`.
        """
        image = open_image(
            io.BytesIO(read_unchanged(self.source, row)),
            alpha_background=self.alpha_background,
            max_pixels=self.max_pixels,
        )
        fitted = fit_image(image, row)
        return ImageOps.mirror(fitted) if row["flipped"] else fitted


def read_unchanged(source: Source, row: Row) -> bytes:
    """The bytes of a row's image.

    Raises:
        NadirError: The file is gone or has changed since `validate`.
    """
    path = f"{source.location}/{row['path']}"
    try:
        content = source.read(row["path"], MAX_BYTES).data
    except OSError as error:
        raise changed(path, f"the image cannot be read ({error.strerror})") from error
    if hashlib.sha256(content).hexdigest() != row["sha256"]:
        raise changed(path, "the image has changed since it was validated")
    return content


def in_room(open_row: Callable[[Row], Opened]) -> Callable[[Row], Opened]:
    """`open_row`, waiting until there is room for the image at its full size."""
    room = PixelRoom(PIXELS_AT_ONCE)

    def open_in_room(row: Row) -> Opened:
        with room.take(row["width"] * row["height"]):
            return open_row(row)

    return open_in_room


def bucket_batches(job: pa.Table, size: int) -> list[tuple[int, int]]:
    """(start, stop) of each batch of a sorted job: consecutive rows of one bucket."""
    sides = np.stack([job[name].to_numpy() for name in ("bucket_width", "bucket_height")], axis=1)
    edges = np.flatnonzero((sides[1:] != sides[:-1]).any(axis=1)) + 1
    bounds = [0, *edges.tolist(), len(job)]
    return [
        (start, min(start + size, end))
        for begin, end in pairwise(bounds)
        for start in range(begin, end, size)
    ]


def opened(
    pool: ThreadPoolExecutor,
    open_row: Callable[[Row], Opened],
    job: pa.Table,
    batches: Sequence[tuple[int, int]],
) -> Iterator[tuple[list[Row], list[Opened]]]:
    """Rows and images of each batch, with the images of the next ones already being opened."""
    waiting: deque[tuple[list[Row], list[Future[Opened]]]] = deque()
    try:
        for start, stop in batches:
            rows: list[Row] = job.slice(start, stop - start).to_pylist()
            waiting.append((rows, [pool.submit(open_row, row) for row in rows]))
            if len(waiting) > _BATCHES_AHEAD:
                yield _wait(*waiting.popleft())
        while waiting:
            yield _wait(*waiting.popleft())
    finally:
        # After an error nobody wants the rest.
        for future in (future for _, futures in waiting for future in futures):
            future.cancel()


def _wait(rows: list[Row], futures: list[Future[Opened]]) -> tuple[list[Row], list[Opened]]:
    return rows, [future.result() for future in futures]


def changed(path: str, what: str) -> NadirError:
    """The error of a source that is not what it was."""
    return NadirError(what, where=path, fix="run the pipeline again; it lists the source anew")
