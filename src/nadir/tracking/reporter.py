"""The training's reporter that writes to MLflow; loaded by name, so training imports no tracker."""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.tracking.runs import RunStatus, set_tags
from nadir.tracking.store import connect
from nadir.tracking.training_run import RUN_VARIABLE, now_ms
from nadir.training.reporter import SHARE_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow.entities import Metric
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
    from PIL.Image import Image

_FLUSH_EVERY_S = 5.0
_FLUSH_AT = 500  # metrics; MLflow takes 1000 in one call
_SYSTEM_EVERY_S = 5.0
_TAG_CHARACTERS = 5000


class MlflowReporter:
    """Writes one training to the run that `open_run` made.

    Metrics are sent in batches, for a call costs milliseconds and a step may cost no more.

    Raises:
        NadirError: `NADIR_TRAINING_RUN` names no run.
    """

    def __init__(self) -> None:
        run_id = os.environ.get(RUN_VARIABLE)
        if not run_id:
            raise NadirError(
                f"{RUN_VARIABLE} names no MLflow run",
                fix="start the training with `python -m nadir.stages.train`, which makes one",
            )
        self.run_id = run_id
        self._client = connect()
        self._waiting: list[Metric] = []
        self._flushed = time.monotonic()
        self._monitor: SystemMetricsMonitor | None = None

    def started(self, info: dict[str, Any]) -> None:
        """Keep facts as tags, which a resumed training may change; begin system metrics.

        The share of the loss weight that each band of sigma receives becomes metrics as well, so
        that MLflow can compare runs by them.
        """
        tags = {f"training.{key}": str(value)[:_TAG_CHARACTERS] for key, value in info.items()}
        set_tags(self._client, self.run_id, tags)
        shares = {key: value for key, value in info.items() if key.startswith(SHARE_PREFIX)}
        self._log(0, shares)
        self._monitor = self._start_monitor()

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """Queue metrics, and the images seen as one more."""
        self._log(step, {**metrics, "images": float(images)})
        late = time.monotonic() - self._flushed > _FLUSH_EVERY_S
        if late or len(self._waiting) >= _FLUSH_AT:
            self._flush()

    def preview(self, step: int, name: str, image: Image) -> None:
        """An image that MLflow shows beside earlier ones of the same name."""
        key = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.")[:80] or "preview"
        self._client.log_image(self.run_id, image, key=key, step=step, synchronous=True)

    def artifact(self, path: Path) -> None:
        """A file kept with the run."""
        self._client.log_artifact(self.run_id, str(path))

    def finished(self, status: RunStatus) -> None:
        """Send what is queued and close the run."""
        self._flush()
        if self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        self._client.set_terminated(self.run_id, status)

    def _log(self, step: int, metrics: dict[str, float]) -> None:
        from mlflow.entities import Metric

        at = now_ms()
        self._waiting += [Metric(name, float(value), at, step) for name, value in metrics.items()]

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._flushed = time.monotonic()
        if waiting:
            self._client.log_batch(self.run_id, metrics=waiting)

    def _start_monitor(self) -> SystemMetricsMonitor:
        import logging

        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)
        monitor = SystemMetricsMonitor(
            self.run_id,
            sampling_interval=_SYSTEM_EVERY_S,
            resume_logging=True,
            tracking_uri=self._client.tracking_uri,
        )
        monitor.start()
        return monitor
