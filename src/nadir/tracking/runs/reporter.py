"""The training's reporter that writes to MLflow; loaded by name, so training imports no tracker."""

from __future__ import annotations

import os
import re
import shutil
import threading
import time
from typing import TYPE_CHECKING, Any

from nadir.ground.errors import NadirError
from nadir.ground.events import say
from nadir.ground.workspace import project_root
from nadir.tracking.runs.journal import Journal, deliver, journals
from nadir.tracking.runs.training_run import RUN_VARIABLE, now_ms
from nadir.tracking.store.connection import connect, store_name, tracking_uri
from nadir.tracking.store.faults import store_error
from nadir.training.reports.reporter import SHARE_PREFIX

if TYPE_CHECKING:
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor
    from PIL.Image import Image

    from nadir.tracking.runs.pipeline_run import RunStatus

_FLUSH_EVERY_S = 5.0
_SYSTEM_EVERY_S = 5.0
_TAG_CHARACTERS = 5000
# At the end, how long a store that takes no more records is waited for; a training that is asked to
# stop has 24 s in all.
_PATIENCE_S = {"FINISHED": 20.0, "FAILED": 10.0, "KILLED": 6.0}


class MlflowReporter:
    """Writes one training to the run that `open_run` made.

    Every call only notes what there is to tell, in a journal on disk; a thread sends it. So a store
    that is slow or away costs no step and no record: what is not sent when the training ends, the
    next run of the pipeline sends (`nadir.tracking.runs.journal.catch_up`).

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
        import mlflow  # noqa: F401 - here rather than in the thread, beside the first steps

        self.run_id = run_id
        self._journal = Journal(journals(project_root()) / run_id)
        self._journal.remember_store(store_name())
        self._journal.reopen()
        self._client: MlflowClient | None = None
        self._monitor: SystemMetricsMonitor | None = None
        self._wake = threading.Event()
        self._started = self._ending = self._away = False
        self._sender = threading.Thread(target=self._send, name="MlflowReporter", daemon=True)
        self._sender.start()

    def started(self, info: dict[str, Any]) -> None:
        """Keep facts as tags, which a resumed training may change; begin system metrics.

        The share of the loss weight that each band of sigma receives becomes metrics as well, so
        that MLflow can compare runs by them.
        """
        tags = {f"training.{key}": str(value)[:_TAG_CHARACTERS] for key, value in info.items()}
        self._journal.add({"kind": "tags", "tags": tags})
        shares = {key: value for key, value in info.items() if key.startswith(SHARE_PREFIX)}
        self._log(0, shares)
        self._started = True
        self._wake.set()

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """Note metrics, and the images seen as one more."""
        self._log(step, {**metrics, "images": float(images)})

    def preview(self, step: int, name: str, image: Image) -> None:
        """An image that MLflow shows beside earlier ones of the same name."""
        key = re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.")[:80] or "preview"
        record = {"kind": "image", "key": key, "step": step, "at": now_ms()}
        self._journal.add_file(record, lambda path: image.save(path, format="PNG"))

    def artifact(self, path: Path) -> None:
        """A file kept with the run."""
        record = {"kind": "artifact", "name": path.name}
        self._journal.add_file(record, lambda kept: shutil.copyfile(path, kept))

    def finished(self, status: RunStatus) -> None:
        """Close the run when everything is sent; a store that is away is not waited for long."""
        self._journal.add({"kind": "end", "status": status, "at": now_ms()})
        self._ending = True
        self._wake.set()
        left, since = len(self._journal), time.monotonic()
        while self._sender.is_alive() and time.monotonic() - since < _PATIENCE_S[status]:
            self._sender.join(timeout=0.05)
            if len(self._journal) < left:
                left, since = len(self._journal), time.monotonic()
        if left:
            say(f"tracking: {left} records of this training are kept; the next run sends them")

    def _log(self, step: int, metrics: dict[str, float]) -> None:
        at = now_ms()
        rows = [[name, float(value), at, step] for name, value in metrics.items()]
        self._journal.add({"kind": "metrics", "metrics": rows})

    def _send(self) -> None:
        """Send every few seconds, until the training has ended and all is sent; in the thread."""
        while True:
            self._wake.wait(timeout=1.0 if self._ending else _FLUSH_EVERY_S)
            self._wake.clear()
            ending = self._ending
            try:
                self._flush(ending=ending)
            except Exception as error:  # noqa: BLE001 - hours of training outweigh any tracker fault
                self._note_away(error)
                continue
            self._note_back()
            if ending and not len(self._journal):
                self._journal.close(remove=True)
                return

    def _flush(self, *, ending: bool) -> None:
        if self._client is None:
            self._client = connect(patience_s=0)
        if ending and self._monitor is not None:
            self._monitor.finish()
            self._monitor = None
        elif self._started and not ending and not self._is_watching():
            self._monitor = self._start_monitor(self._client)
        deliver(self._client, self._journal)

    def _note_away(self, error: Exception) -> None:
        if not self._away:
            uri = tracking_uri()
            fault = error if isinstance(error, NadirError) else None
            told = fault or store_error(error, what="MLflow takes no records", where=uri)
            say(f"tracking: {told.what}; training goes on, its records are kept and sent later")
        self._away = True

    def _note_back(self) -> None:
        if self._away:
            say("tracking: MLflow is back and has the records it missed")
        self._away = False

    def _is_watching(self) -> bool:
        """MLflow's own thread gives up at the first call that fails."""
        thread = None if self._monitor is None else self._monitor._process  # noqa: SLF001
        return thread is not None and thread.is_alive()

    def _start_monitor(self, client: MlflowClient) -> SystemMetricsMonitor:
        import logging

        from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

        logging.getLogger("mlflow.system_metrics").setLevel(logging.ERROR)
        monitor = SystemMetricsMonitor(
            self.run_id,
            sampling_interval=_SYSTEM_EVERY_S,
            resume_logging=True,
            tracking_uri=client.tracking_uri,
        )
        monitor.start()
        return monitor
