"""What a served model has done, for Prometheus: at a port of its own, since MLflow's app is closed.

The port is opened where `NADIR_METRICS` names it (`9464`, `0.0.0.0:9464`), on loopback unless it
says otherwise.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
)

from nadir.ground.exposition import serve_registry

if TYPE_CHECKING:
    from collections.abc import Iterator

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)


class Metrics:
    """Counts and times of one server.

    Attributes:
        registry: Of Prometheus; holds this process' memory and CPU time as well.
        requests: Calls answered, by HTTP status.
        request_seconds: From the call's arrival in a thread to its answer, waiting included.
        picture_seconds: Of a picture alone; its count is that of the pictures.
        pixels: Drawn.
        in_flight: Calls being answered.
        waiting: Pictures that wait for their turn.
    """

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        ProcessCollector(registry=own)
        self.requests = Counter("nadir_requests", "Calls answered.", ["status"], registry=own)
        self.request_seconds = _seconds("nadir_request_seconds", "Of a call, with waiting.", own)
        self.picture_seconds = _seconds("nadir_picture_seconds", "Of drawing a picture.", own)
        self.pixels = Counter("nadir_pixels", "Pixels drawn.", registry=own)
        self.in_flight = Gauge("nadir_requests_in_flight", "Calls being answered.", registry=own)
        self.waiting = Gauge("nadir_pictures_waiting", "Waiting for their turn.", registry=own)

    @contextlib.contextmanager
    def picture(self, pixels: int) -> Iterator[None]:
        """Inside the block a picture is drawn; one that fails is not counted."""
        start = time.perf_counter()
        yield
        self.picture_seconds.observe(time.perf_counter() - start)
        self.pixels.inc(pixels)


def _seconds(name: str, help_text: str, registry: CollectorRegistry) -> Histogram:
    return Histogram(name, help_text, registry=registry, buckets=_SECONDS)


def serve_metrics(metrics: Metrics, place: str) -> None:
    """Answer Prometheus until the process ends.

    Args:
        metrics: What to show.
        place: `PORT` or `HOST:PORT`.

    Raises:
        NadirError: It is no such place, or taken.
    """
    serve_registry(metrics.registry, place)
