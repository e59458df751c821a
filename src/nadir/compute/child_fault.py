"""How a process says to the one that started it why it ended: a file in a folder that both know.

One rule for training and encoding: a fault that a user can act on is left there, and the process
ends; its parent raises that fault, so it is shown once. Other exceptions are faults
of the program and keep their traceback.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError, exhausted_error, killed_error, less_memory
from nadir.ground.files import read_json, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FAULT = "failure.json"


@contextlib.contextmanager
def faults_left_in(folder: Path, *, where: str) -> Iterator[None]:
    """In the child: end the process on a fault, which stays in the folder.

    Args:
        folder: Known to the parent.
        where: What to name where disk or memory is full.
    """
    try:
        yield
    except Exception as error:
        fault = error if isinstance(error, NadirError) else exhausted_error(error, where=where)
        fault = fault or _lost_process(error, where=where)
        if fault is None:
            raise
        leave_fault(folder, fault)
        sys.exit(fault.exit_status)


class LostProcessError(NadirError):
    """Another one of several processes is gone; what it may have left is the fault to show."""

    is_consequence = True


def _lost_process(error: Exception, *, where: str) -> LostProcessError | None:
    """What torch says when a process waits for another one that is gone; None for other errors."""
    from torch.distributed import DistError

    # gloo's errors have no class of their own, but the path of its source in their text.
    is_gloo = isinstance(error, RuntimeError) and "/gloo/" in str(error)
    if not (is_gloo or isinstance(error, DistError)):
        return None
    reason = str(error).strip().partition("\n")[0].rpartition("] ")[2].partition(". ")[0]
    return LostProcessError(
        f"the connection to another of the processes is lost ({reason})",
        where=where,
        fix="see the lines above for what ended it; a kill by the system means too little memory. "
        "Running the same command again goes on from what is saved",
    )


def leave_fault(folder: Path, fault: NadirError) -> None:
    """Leave a fault; one that only follows from another's (`is_consequence`) never replaces it."""
    if fault.is_consequence and (folder / FAULT).is_file():
        return
    write_json(folder / FAULT, {"what": fault.what, "where": fault.where, "fix": fault.fix})


def forget_fault(folder: Path) -> None:
    """In the parent, before it starts children: what an earlier attempt left is not theirs."""
    (folder / FAULT).unlink(missing_ok=True)


def left_fault(folder: Path) -> NadirError | None:
    """In the parent: the fault that a child left."""
    path = folder / FAULT
    return NadirError(**read_json(path)) if path.is_file() else None


def no_reason(what: str, status: int | None, *, where: str) -> NadirError:
    """In the parent: the fault of children that ended without leaving one.

    Args:
        what: The children, such as `the training process`.
        status: Their exit status.
        where: The stage.
    """
    killed = None if status is None else killed_error(what, status, where=where)
    return killed or NadirError(
        f"{what} ended with status {status} and gave no reason",
        where=where,
        fix="see the lines above; a kill by the system (SIGKILL) means too little memory: "
        + less_memory(where),
    )
