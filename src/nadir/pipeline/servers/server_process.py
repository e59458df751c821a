"""A server with all it starts: its lines are passed on, and it never outlives this process."""

from __future__ import annotations

import collections
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

from nadir.pipeline.processes.supervise import group_is_alive

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_LAST_LINES = 12
# The S3 store's last word, after which Go tells what each of its threads was at.
_FATAL = re.compile(r"F\d{4} \d\d:\d\d:\d\d\.\d+ ")
_STOP_S = 10.0
_POLL_S = 0.05
# Stands between, in a process group of its own: its standard input ends with the process that
# started it, however that ended, and then the whole group is ended.
_KEEPER = """
import os, signal, subprocess, sys, threading, time
child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
signal.signal(signal.SIGTERM, lambda *_: None)
def end():
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGTERM)
    time.sleep(5)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end, daemon=True).start()
os._exit(child.wait() & 255)
"""


class ServerProcess:
    """A server in a process group of its own.

    Args:
        name: What it is called to the user.
        command: Program and arguments.
        environment: Its whole environment.
        cwd: Folder it runs in.
    """

    def __init__(
        self, name: str, command: Sequence[str], *, environment: Mapping[str, str], cwd: Path
    ) -> None:
        self.name = name
        self._lines: collections.deque[str] = collections.deque(maxlen=_LAST_LINES)
        self._process = subprocess.Popen(
            [sys.executable, "-c", _KEEPER, *command],
            cwd=cwd,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def group(self) -> int:
        """Its process group."""
        return self._process.pid

    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.poll()

    def last_lines(self) -> list[str]:
        """What it said last, for the case that it has ended."""
        self._reader.join(timeout=2.0)
        return list(self._lines)

    def _read(self) -> None:
        fatal = False
        for data in self._process.stdout or ():
            line = data.decode("utf-8", errors="replace")
            if line.strip() and not fatal:
                self._lines.append(line.rstrip())
                fatal = bool(_FATAL.match(line))
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.write(line)
                sys.stderr.flush()


def stop_all(servers: Sequence[ServerProcess]) -> None:
    """End servers and all they started; what does not go when asked is killed."""
    for server in servers:
        _signal(server.group, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_S
    while time.monotonic() < deadline and any(_alive(server) for server in servers):
        time.sleep(_POLL_S)
    for server in servers:
        if _alive(server):
            _signal(server.group, signal.SIGKILL)


def port_is_free(port: int) -> bool:
    """Whether a server may listen on this port of loopback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except (OSError, OverflowError):
            return False
    return True


def _alive(server: ServerProcess) -> bool:
    server.status()  # takes note of an end, which would count as a process otherwise
    return group_is_alive(server.group)


def _signal(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, number)
