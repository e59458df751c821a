"""The one error users see: where it happened, what is wrong, how to fix it."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.secrets import masked

if TYPE_CHECKING:
    from collections.abc import Iterable

_DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_MORE_SPACE = (
    "free space on this disk (old runs: `nadir clean`, old latents: `nadir latents compact`)"
)
_MORE_INODES = "delete files on this disk: each takes an inode, however small it is (`df -i`),"
_LESS_MEMORY = {
    "validate": "lower `compute.workers`",
    "base_model": "lower `base_model.tiny.vae_batch_size`",
    "encode": "lower `encode.batch_size`, `compute.workers` or `compute.processes`",
    "decoder": "lower `decoder.batch_size` or `compute.workers`",
    "train": "lower `train.batch_size` or see what else saves memory (`nadir plan`)",
    "evaluate": "lower `evaluate.batch_size`",
}
"""What takes less memory, by stage."""


class NadirError(Exception):
    """A fault in the input or the surroundings, in words that a user can act on.

    Passwords and keys in its texts are masked: it is printed, logged and stored.

    Args:
        what: What is wrong, one sentence without a trailing period.
        where: File, line, parameter or stage it concerns; empty when `what` says it.
        fix: What to do about it, imperative; empty only when nothing can be done.
    """

    is_consequence = False
    """Whether it only follows from the fault of another process, which is the one to show."""

    exit_status = 1
    """Of a process that it ends."""

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        super().__init__(masked(what))
        self.what = masked(what)
        self.where = masked(where)
        self.fix = masked(fix)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  fix: {self.fix}" if self.fix else head


def exhausted_error(error: BaseException, *, where: str) -> NadirError | None:
    """Translate a full disk or memory into a `NadirError`; None for other errors."""
    return disk_full_error(error, where=where) or memory_full_error(error, where=where)


def memory_full_error(error: BaseException, *, where: str) -> NadirError | None:
    """Translate "no memory left" from any library, a GPU's too; None for other errors."""
    text = str(error).strip().partition("\n")[0][:300]
    full = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    # torch has a class of its own for a GPU, and none for the CPU.
    marks = ("out of memory", "DefaultCPUAllocator", os.strerror(errno.ENOMEM))
    full = full or (isinstance(error, RuntimeError) and any(mark in text for mark in marks))
    if not full:
        return None
    return NadirError(
        f"no memory left ({text or type(error).__name__})",
        where=where,
        fix=less_memory(where),
    )


def less_memory(stage: str) -> str:
    """What to do where memory is short.

    Args:
        stage: The stage; anything else for what belongs to none.
    """
    first = f"{_LESS_MEMORY[stage]}, " if stage in _LESS_MEMORY else ""
    return (
        f"{first}end what else uses this memory, or raise the container's limit; then run the same "
        "command again: finished stages are kept, and a stage goes on from what it has saved"
    )


def killed_error(what: str, status: int, *, where: str) -> NadirError | None:
    """That the system killed a process, as it does where memory is short; None for another end.

    Args:
        what: The process, such as `the training process`.
        status: Its exit status: negative for a signal, or 128 + signal as a shell tells it.
        where: The stage.
    """
    if status not in {-signal.SIGKILL, 128 + signal.SIGKILL}:
        return None
    return NadirError(
        f"{what} was killed (SIGKILL), which the system does where memory is short",
        where=where,
        fix=less_memory(where),
    )


def disk_full_error(
    error: BaseException, *, where: str, written: Iterable[Path] = ()
) -> NadirError | None:
    """Translate "no space left" from any library into a `NadirError`; None for other errors.

    Args:
        error: What was raised.
        where: The stage or the file.
        written: Folders that may be full beside those of the project.
    """
    full = isinstance(error, OSError) and error.errno in _DISK_FULL
    # safetensors and pyarrow wrap the errno in their own exception's text.
    text = str(error)
    marks = [f"os error {number})" for number in _DISK_FULL]
    marks += [os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT)]
    marks += ["database or disk is full"]  # SQLite, below MLflow and DVC
    full = full or any(mark in text for mark in marks)
    if not full:
        return None
    room = _least_room(error, written)
    way = _MORE_INODES if "inodes" in room else _MORE_SPACE
    return NadirError(
        f"no disk space left for an output ({text}){room}",
        where=where,
        fix=f"{way} and run again; finished stages are kept",
    )


def _least_room(error: BaseException, written: Iterable[Path]) -> str:
    """Which disk it is: what is written to an open file fails without naming it."""
    from nadir.ground.workspace import fullest, no_inode

    with contextlib.suppress(NadirError, OSError, TypeError):  # a handle is no name
        if named := getattr(error, "filename2", None) or getattr(error, "filename", None):
            missing = no_inode(Path(os.fsdecode(named)).absolute().parent)
            return f"; {missing}" if missing else ""
        return f"; least room has {fullest(*written)}"
    return ""
