"""One drawing at a time, in order; a few may wait."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[], bytes]


class DrawingQueue:
    """A thread that draws, which ends with the process even while it draws.

    Args:
        most_waiting: Drawings beside the one that is being made.
    """

    def __init__(self, most_waiting: int) -> None:
        self._waiting: queue.Queue[tuple[Future[bytes], Work]] = queue.Queue()
        self._places = threading.BoundedSemaphore(most_waiting + 1)
        threading.Thread(target=self._draw, daemon=True, name="drawing").start()

    def put(self, work: Work) -> Future[bytes] | None:
        """The drawing to come, which may be cancelled until it begins; None when too many wait."""
        if not self._places.acquire(blocking=False):
            return None
        drawing: Future[bytes] = Future()
        drawing.add_done_callback(lambda _: self._places.release())
        self._waiting.put((drawing, work))
        return drawing

    def _draw(self) -> None:
        while True:
            drawing, work = self._waiting.get()
            if not drawing.set_running_or_notify_cancel():
                continue
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - raised where the result is read
                drawing.set_exception(error)
            else:
                drawing.set_result(result)
