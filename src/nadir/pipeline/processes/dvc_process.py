"""DVC's commands as children of one process that has DVC loaded (`dvc_launcher`)."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, BinaryIO

from nadir.pipeline.processes import dvc_launcher
from nadir.pipeline.processes.supervise import stop_group

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# Elsewhere a process that has used the system's own libraries may not be forked.
_FORKS = sys.platform == "linux"
_END_S = 5.0  # for a process that has nothing to do but to end
_turn = threading.Lock()


class DvcProcess:
    """A DVC command that runs, as `supervise.follow` looks at it.

    Attributes:
        pid: Of its process, the leader of a process group.
        returncode: Its exit code, negative for a signal; None while it runs.
    """

    def __init__(self, launcher: _Launcher, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._launcher = launcher

    def poll(self) -> int | None:
        """Its exit code; None while it runs."""
        if self.returncode is None and self._launcher.has_answer():
            try:
                self.returncode = self._launcher.answer()["code"]
            except EOFError:  # the launcher was killed; nobody else will say how the command ended
                self.returncode = -signal.SIGKILL
                stop_group(self)
        return self.returncode


def start_dvc(
    arguments: Sequence[str],
    *,
    cwd: Path,
    environment: Mapping[str, str],
    log: BinaryIO,
    inherit: Sequence[int] = (),
) -> DvcProcess | None:
    """Start a DVC command in a process group of its own, without loading DVC again.

    Args:
        arguments: What `dvc` takes.
        cwd: Folder it runs in.
        environment: Its whole environment. The first command's is also the one with which DVC
            itself is loaded.
        log: File for its standard output and error.
        inherit: File descriptors that it keeps open.

    Returns:
        The command; None where this is not possible now, so that DVC has to be started as any
        program is: another command of this process runs, DVC cannot be loaded, or the system
        is not Linux.
    """
    global _launcher  # noqa: PLW0603 - one a process
    if not _FORKS or not _turn.acquire(blocking=False):
        return None
    try:
        if _launcher is None or not _launcher.is_usable():
            _launcher = _Launcher(environment)
        if _launcher.is_busy():
            return None
        return _launcher.start(arguments, cwd, environment, [log.fileno(), *inherit])
    except (OSError, EOFError):
        _launcher = None
        return None
    finally:
        _turn.release()


class _Launcher:
    """The process that has DVC loaded. It ends with this one, or when this object is dropped."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._channel, theirs = socket.socketpair()
        self._owner = os.getpid()
        self._unread = b""
        self._runs: DvcProcess | None = None
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", dvc_launcher.__name__, str(theirs.fileno())],
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        atexit.register(self.close)

    def is_usable(self) -> bool:
        """Whether it lives, and is this process's own and not that of one forked off it."""
        return self._owner == os.getpid() and self._process.poll() is None

    def is_busy(self) -> bool:
        """Whether a command runs."""
        return self._runs is not None and self._runs.poll() is None

    def close(self) -> None:
        """Let the process end; one whose command still saves ends after it."""
        busy = self._owner == os.getpid() and self.is_busy()
        self._channel.close()
        if self._owner == os.getpid():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0 if busy else _END_S)

    def start(
        self,
        arguments: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str],
        descriptors: list[int],
    ) -> DvcProcess:
        """Ask for a command.

        Raises:
            OSError, EOFError: The launcher has ended.
        """
        asked = {"arguments": [*arguments], "cwd": str(cwd), "environment": {**environment}}
        body = json.dumps(asked).encode()
        header = len(body).to_bytes(dvc_launcher.HEADER, "little")
        socket.send_fds(self._channel, [header], descriptors)
        self._channel.sendall(body)
        try:
            self._runs = DvcProcess(self, self.answer()["pid"])
        except KeyboardInterrupt:
            with contextlib.suppress(EOFError):
                stop_group(DvcProcess(self, self.answer()["pid"]))
            raise
        return self._runs

    def has_answer(self) -> bool:
        """Whether `answer` would return or raise at once."""
        return b"\n" in self._unread or bool(select.select([self._channel], [], [], 0)[0])

    def answer(self) -> dict[str, int]:
        """The next answer, waited for.

        Raises:
            EOFError: The launcher has ended.
        """
        while b"\n" not in self._unread:
            part = self._channel.recv(4096)
            if not part:
                raise EOFError
            self._unread += part
        line, _, self._unread = self._unread.partition(b"\n")
        answer: dict[str, int] = json.loads(line)
        return answer


_launcher: _Launcher | None = None
