"""A process begins: by `NADIR_LOG=json` all that it prints or logs becomes JSON lines."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import traceback
import uuid
from typing import TYPE_CHECKING

from nadir.ground.logs.entry import RUN_VARIABLE, bind, entry, is_json
from nadir.ground.logs.stream import install, json_errors, json_output
from nadir.ground.secrets import scrub

if TYPE_CHECKING:
    from types import TracebackType

_FLOW_RUN_VARIABLE = "PREFECT__FLOW_RUN_ID"  # set by Prefect for the process of a flow run
_FIELDS = "nadir"
"""Attribute of a log record that holds fields of its entry."""


def begin(*, stage: str | None = None) -> None:
    """Give the lines of this process the form that `NADIR_LOG` names; of text nothing changes.

    Args:
        stage: What the process is for, if it is for one stage.

    Raises:
        NadirError: There is no such form.
    """
    if not is_json():
        return
    bind(stage=stage)
    if json_output() is None:
        if not os.environ.get(RUN_VARIABLE):
            os.environ[RUN_VARIABLE] = os.environ.get(_FLOW_RUN_VARIABLE) or str(uuid.uuid4())
        for stream in install():
            atexit.register(stream.drain)
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread
        logging.lastResort = _JsonHandler(logging.WARNING)
        logging.captureWarnings(capture=True)
        logging.getLogger("py.warnings").addHandler(_JsonHandler(logging.WARNING))
    take_over_handlers()


def take_over_handlers() -> None:
    """Let every handler that writes to standard output or error write entries instead.

    For after the import of a library that sets up its own logging, as MLflow, Prefect and uvicorn
    do. Does nothing where lines are text.
    """
    if json_errors() is None:
        return
    known = [logging.getLogger(), *map(logging.getLogger, list(logging.root.manager.loggerDict))]
    for logger in known:
        for handler in [h for h in logger.handlers if _writes_to_terminal(h)]:
            ours = _JsonHandler(handler.level, instead_of=handler)
            ours.filters = handler.filters
            logger.handlers[logger.handlers.index(handler)] = ours


def record_fields(**fields: object) -> dict[str, dict[str, object]]:
    """The argument `extra` of a logging call, for fields of its entry (`step=3`)."""
    return {_FIELDS: fields}


class _JsonHandler(logging.Handler):
    """Writes records as entries to standard error.

    Args:
        level: The least that is written.
        instead_of: Kept alive: who configures logging once more looks it up by its name.
    """

    def __init__(self, level: int, instead_of: logging.Handler | None = None) -> None:
        super().__init__(level)
        self._instead_of = instead_of

    def emit(self, record: logging.LogRecord) -> None:
        try:
            fields = {"logger": record.name, "flow_run": getattr(record, "flow_run_id", None)}
            fields |= getattr(record, _FIELDS, {})
            if record.exc_info and record.exc_info[0] is not None:
                fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
            _put(
                entry(
                    record.getMessage(),
                    level=record.levelname.lower(),
                    time_s=record.created,
                    **fields,
                )
            )
        except Exception:  # noqa: BLE001 - as logging's own handlers do
            self.handleError(record)


def _writes_to_terminal(handler: logging.Handler) -> bool:
    if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
        return False
    stream = handler.stream
    ours = [one for one in (json_output(), json_errors()) if one is not None]
    under = [one.stream for one in ours]
    standard = (*ours, *under, sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)
    # MLflow's own stream passes on to whatever standard error is.
    return stream in standard or type(stream).__module__.startswith("mlflow.")


def _put(line: str) -> None:
    if (lines := json_errors()) is not None:
        lines.put(line)


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    scrub(error)
    text = "".join(traceback.format_exception(kind, error, trace))
    _put(entry(f"{kind.__name__}: {error}", level="critical", exception=text))


def _uncaught_in_thread(told: threading.ExceptHookArgs) -> None:
    if told.exc_value is not None:
        _uncaught(told.exc_type, told.exc_value, told.exc_traceback)
