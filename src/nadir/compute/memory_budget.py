"""Room for a number of pixels, which threads that open images share."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class PixelRoom:
    """Keeps the images that are open at the same time within a number of pixels.

    Args:
        pixels: The room. An image larger than that has it for itself.
    """

    def __init__(self, pixels: int) -> None:
        self._whole = self._free = pixels
        self._changed = threading.Condition()
        self._turn = threading.Lock()

    @contextlib.contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait for room, and have it during the block."""
        pixels = min(pixels, self._whole)
        # One waits at a time: otherwise small images would pass a large one for ever.
        with self._turn, self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify()
