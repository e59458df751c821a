"""What a training does, for Prometheus: at a port while it runs, or in a file.

The tracker and Prometheus hear of the same steps.
"""

from __future__ import annotations

import time
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nadir.compute.devices import peak_memory
from nadir.ground.errors import NadirError
from nadir.ground.events import say
from nadir.ground.exposition import metrics_place, serve_registry, write_registry
from nadir.ground.workspace import main_workspace
from nadir.training.reports.reporter import SafeReporter

if TYPE_CHECKING:
    from PIL.Image import Image
    from prometheus_client import Gauge

    from nadir.training.reports.reporter import Status, TrainingReporter

_OWN = ("loss", "unweighted_loss", "gradient_norm", "learning_rate", "images_per_second")


def with_metrics(reporter: TrainingReporter) -> TrainingReporter:
    """The reporter, with metrics beside it where `NADIR_METRICS` names a place.

    A port that is taken costs the metrics and not the training.

    Raises:
        NadirError: The variable names no place.
    """
    place = metrics_place()
    if place is None:
        return reporter
    metrics = TrainingMetrics(
        main_workspace(Path.cwd()), place if isinstance(place, Path) else None
    )
    if isinstance(place, str):
        from prometheus_client import ProcessCollector

        try:
            ProcessCollector(registry=metrics.registry)
            serve_registry(metrics.registry, place)
        except NadirError as error:
            say(f"WARNING train: {error.what}; it goes on without")
            return reporter
    return _Both(reporter, SafeReporter(metrics))


class TrainingMetrics:
    """A reporter whose numbers Prometheus reads.

    Args:
        workspace: Where it trains; a label of each number.
        folder: Where to leave a file after each report; None leaves none.

    Attributes:
        registry: Of Prometheus.
    """

    def __init__(self, workspace: Path, folder: Path | None) -> None:
        from prometheus_client import CollectorRegistry, Gauge

        self.registry = CollectorRegistry()
        self._folder = folder
        self._file = f"training_{sha256(bytes(workspace)).hexdigest()[:8]}"
        self._label = str(workspace)
        self._running = self._gauge("running", "1 while it trains.")
        self._step = self._gauge("step", "Optimizer steps done.")
        self._images = self._gauge("images", "Images seen.")
        self._told = self._gauge("report_timestamp_seconds", "When it was last heard of.")
        self._own = {name: self._gauge(name, "Mean since the last report.") for name in _OWN}
        self._peak = Gauge(
            "nadir_training_peak_memory_bytes",
            "What the first process held at most so far, of main memory and of its GPU's.",
            ["workspace", "memory"],
            registry=self.registry,
        )
        self._measures = Gauge(
            "nadir_training_measure",
            "Other numbers by the name that MLflow knows them by, held-out errors among them.",
            ["workspace", "name"],
            registry=self.registry,
        )

    def started(self, info: dict[str, Any]) -> None:
        """It runs."""
        self._step.set(info.get("steps_done", 0))
        self._running.set(1)
        self._show()

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """Take the numbers of a report."""
        self._step.set(step)
        self._images.set(images)
        for name, value in metrics.items():
            gauge = self._own.get(name) or self._measures.labels(self._label, name)
            gauge.set(value)
        for memory, size in peak_memory().items():
            self._peak.labels(self._label, memory).set(size)
        self._show()

    def preview(self, step: int, name: str, image: Image) -> None:
        """No number."""

    def artifact(self, path: Path) -> None:
        """No number."""

    def finished(self, status: Status) -> None:  # noqa: ARG002 - the pipeline tells how it ended
        """It runs no more."""
        self._running.set(0)
        self._show()

    def _gauge(self, name: str, help_text: str) -> Gauge:
        from prometheus_client import Gauge

        family = Gauge(f"nadir_training_{name}", help_text, ["workspace"], registry=self.registry)
        return family.labels(self._label)

    def _show(self) -> None:
        self._told.set(time.time())
        if self._folder is not None:
            write_registry(self.registry, self._folder, self._file)


class _Both:
    """Passes each call on to two reporters."""

    def __init__(self, *reporters: TrainingReporter) -> None:
        self._reporters = reporters

    def started(self, info: dict[str, Any]) -> None:
        for one in self._reporters:
            one.started(info)

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        for one in self._reporters:
            one.step(step, images, metrics)

    def preview(self, step: int, name: str, image: Image) -> None:
        for one in self._reporters:
            one.preview(step, name, image)

    def artifact(self, path: Path) -> None:
        for one in self._reporters:
            one.artifact(path)

    def finished(self, status: Status) -> None:
        for one in self._reporters:
            one.finished(status)
