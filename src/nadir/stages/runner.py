"""What every stage does around its own work: events, clear errors, exit codes."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from nadir.compute.lean_start import loaded
from nadir.ground.errors import NadirError, exhausted_error
from nadir.ground.events import emit
from nadir.ground.logs.setup import begin
from nadir.ground.secrets import mask_logs, scrub
from nadir.ground.terminal import harmless
from nadir.ground.workspace import project_root

if TYPE_CHECKING:
    from collections.abc import Callable


def run(stage: str, work: Callable[[], None]) -> None:
    """Run a stage's work from the project's root; end the process non-zero on a fault.

    A `NadirError` prints as it is, without a traceback. Other exceptions are faults of the program
    and keep theirs.
    """
    loaded()
    os.chdir(project_root())
    mask_logs()
    emit("stage_started", stage=stage)
    try:
        begin(stage=stage)
        work()
    except NadirError as error:
        _fail(stage, error)
    except Exception as error:
        scrub(error)
        full = exhausted_error(error, where=stage)
        if full is None:
            emit("stage_failed", stage=stage, error=f"{type(error).__name__}: {error}")
            raise
        _fail(stage, full)
    emit("stage_finished", stage=stage)


def _fail(stage: str, error: NadirError) -> None:
    emit("stage_failed", stage=stage, error=str(error))
    sys.stderr.write(f"error: {harmless(str(error))}\n")
    raise SystemExit(1)
