"""A command and all it starts as one process group: its log tailed, its end awaited."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Protocol

import psutil

from nadir.pipeline.processes.parent_watch import stopped_with_this_process

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

# Prefect kills a cancelled flow 30 s after asking; a stage must have been let go before that.
STOP_WITHIN_S = 24.0
_POLL_S = 0.05
_LINE_ENDS = re.compile(rb"\r\n|\n|\r")
# A parent that ignores SIGINT (nohup, a script's background job) hands that down through exec, and
# then nothing could ask the stage to stop.
_HEARS_SIGINT = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); "
    "os.execvp(sys.argv[1], sys.argv[1:])"
)


class Child(Protocol):
    """A process that leads a group, such as `subprocess.Popen` starts it.

    Attributes:
        pid: Its number, and the group's.
    """

    pid: int

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""


def run_group(
    command: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: Path,
    on_line: Callable[[str], None],
    on_tick: Callable[[], None],
    inherit: Sequence[int] = (),
) -> int:
    """Run a command in a process group of its own and follow its log until it ends.

    Output goes to a file and never to a pipe: a stage that outlives this process while it saves
    would die of a broken one.

    Args:
        command: Program and arguments.
        cwd: Folder it runs in.
        environment: Its whole environment.
        log: File for its standard output and error; replaced.
        on_line: Called with each line; a carriage return ends a line too.
        on_tick: Called after each look at the log, and once at the end.
        inherit: File descriptors to pass on.

    Returns:
        The exit code, negative for a signal. When anything is raised here meanwhile, the group is
        stopped first; when this process is killed, the group is asked to stop as well.
    """
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", _HEARS_SIGINT, *command],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            pass_fds=inherit,
        )
    return follow(child, log, on_line=on_line, on_tick=on_tick)


def follow(
    child: Child, log: Path, *, on_line: Callable[[str], None], on_tick: Callable[[], None]
) -> int:
    """Follow the log of a process group until its leader ends.

    Args:
        child: The leader.
        log: File with its standard output and error, which was empty when it began.
        on_line: Called with each line; a carriage return ends a line too.
        on_tick: Called after each look at the log, and once at the end.

    Returns:
        The exit code, negative for a signal. When anything is raised here meanwhile, the group is
        stopped first; when this process is killed, the group is asked to stop as well.
    """
    tail = _Tail(log)
    with stopped_with_this_process(child.pid):
        try:
            while (code := child.poll()) is None:
                time.sleep(_POLL_S)
                _look(tail, on_line, on_tick)
            _look(tail, on_line, on_tick, rest=True)
        except BaseException:
            stop_group(child)
            raise
    return code


def stop_group(child: Child, within_s: float = STOP_WITHIN_S) -> bool:
    """Ask a process group to stop and wait until it is empty, not only until its leader is gone.

    The launcher of several trainers returns before they do. A group that is still busy after
    `within_s` seconds is left to finish saving by itself.

    Returns:
        Whether the group is empty.
    """
    _signal_group(child.pid, signal.SIGINT)
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        child.poll()
        if not group_is_alive(child.pid):
            return True
        time.sleep(_POLL_S)
    return False


def group_is_alive(group: int) -> bool:
    """Whether a process of the group still runs; an ended one that was not reaped does not."""
    if not _signal_group(group, 0):
        return False
    return any(_group_of(process) == group for process in psutil.process_iter(["status"]))


def _signal_group(group: int, number: int) -> bool:
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    return True


def _group_of(process: psutil.Process) -> int | None:
    if process.info["status"] == psutil.STATUS_ZOMBIE:
        return None
    try:
        return os.getpgid(process.pid)
    except (ProcessLookupError, PermissionError):
        return None


def _look(
    tail: _Tail, on_line: Callable[[str], None], on_tick: Callable[[], None], *, rest: bool = False
) -> None:
    for line in tail.lines(rest=rest):
        on_line(line)
    on_tick()


class _Tail:
    """New whole lines of a growing file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._partial = b""

    def lines(self, *, rest: bool) -> list[str]:
        with self._path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        self._offset += len(data)
        *whole, self._partial = _LINE_ENDS.split(self._partial + data)
        if rest and self._partial:
            whole.append(self._partial)
        return [line.decode("utf-8", errors="replace") for line in whole]
