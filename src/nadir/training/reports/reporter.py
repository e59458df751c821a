"""How training tells a tracker what happens, without knowing which tracker it is.

The trainer calls a `TrainingReporter`. The tracking room implements one and is loaded by name, so
this room imports no tracker.
"""

from __future__ import annotations

import importlib
import logging
import os
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from PIL.Image import Image

REPORTER_VARIABLE = "NADIR_REPORTER"
SHARE_PREFIX = "loss_weight_share."
"""Facts of this prefix say which share of the loss weight a band of sigma receives."""
Status = Literal["FINISHED", "FAILED", "KILLED"]

_log = logging.getLogger(__name__)


class TrainingReporter(Protocol):
    """What a tracker hears about one training; only the first process calls it."""

    def started(self, info: dict[str, Any]) -> None:
        """The run begins or goes on: parameters and facts, a flat dict of plain values."""

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """Metrics after `step` optimizer steps and `images` images."""

    def preview(self, step: int, name: str, image: Image) -> None:
        """An image drawn by the weights of `step`; `name` stays the same through the run."""

    def artifact(self, path: Path) -> None:
        """A file that belongs to the run."""

    def finished(self, status: Status) -> None:
        """The run has ended, or stops for now (`KILLED`)."""


class NoReporter:
    """Hears nothing; for training without a tracker."""

    def started(self, info: dict[str, Any]) -> None:
        """Do nothing."""

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """Do nothing."""

    def preview(self, step: int, name: str, image: Image) -> None:
        """Do nothing."""

    def artifact(self, path: Path) -> None:
        """Do nothing."""

    def finished(self, status: Status) -> None:
        """Do nothing."""


class SafeReporter:
    """Passes calls on; a tracker that fails costs its records, never the training.

    Args:
        inner: The tracker's reporter.
    """

    def __init__(self, inner: TrainingReporter) -> None:
        self._inner = inner
        self._faults = 0

    def _try(self, name: str, call: Callable[..., None], *arguments: object) -> None:
        try:
            call(*arguments)
        except Exception as error:  # noqa: BLE001 - hours of training outweigh any tracker fault
            self._faults += 1
            if self._faults <= 3:
                text = "tracking: `%s` failed (%s: %s); training goes on without this record"
                _log.warning(text, name, type(error).__name__, error)

    def started(self, info: dict[str, Any]) -> None:
        """Pass on."""
        self._try("started", self._inner.started, info)

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        """Pass on."""
        self._try("step", self._inner.step, step, images, metrics)

    def preview(self, step: int, name: str, image: Image) -> None:
        """Pass on."""
        self._try("preview", self._inner.preview, step, name, image)

    def artifact(self, path: Path) -> None:
        """Pass on."""
        self._try("artifact", self._inner.artifact, path)

    def finished(self, status: Status) -> None:
        """Pass on."""
        self._try("finished", self._inner.finished, status)


def load_attribute(spec: str, *, variable: str) -> Any:
    """The object that `module:attribute` names.

    Raises:
        NadirError: The text has another form, or no such module or attribute exists.
    """
    module, colon, attribute = spec.partition(":")
    if not (module and colon and attribute):
        raise NadirError(
            f"{spec!r} is not of the form module:attribute",
            where=variable,
            fix=f"set {variable}=package.module:name, or unset it",
        )
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise NadirError(
            f"cannot load {spec!r} ({error})",
            where=variable,
            fix=f"install what provides it, or unset {variable}",
        ) from error


def load_reporter(spec: str | None = None) -> TrainingReporter:
    """The reporter named by `spec`, or by the environment's `NADIR_REPORTER`; silent without one.

    Args:
        spec: `module:attribute` of a class or function that makes a reporter when called.

    Raises:
        NadirError: The name cannot be loaded.
    """
    spec = spec or os.environ.get(REPORTER_VARIABLE)
    if not spec:
        return NoReporter()
    factory = load_attribute(spec, variable=REPORTER_VARIABLE)
    return SafeReporter(cast("TrainingReporter", factory()))
