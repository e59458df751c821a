"""A process that has DVC loaded and forks one DVC command after another off itself.

Loading DVC is two thirds of what `dvc repro --single-item` costs beside the stage's own command,
and a run of the pipeline gives DVC a dozen of them. The program of a process of its own, because a
process with threads, such as one of Prefect, must not be forked.

It speaks over the socket that it inherits (its number is the only argument). A request is the
length of a JSON object (eight bytes, little-endian; file descriptors come with them: the log, then
those to keep open) and the object: `arguments`, `cwd`, `environment`. Answers are lines of JSON:
`{"pid": …}` when the command has begun, `{"code": …}` when it has ended, negative for a signal.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import sys
from typing import Any

from nadir.pipeline.processes.lock_entries import write_entries_alone

HEADER = 8
MAX_DESCRIPTORS = 16
# What `dvc repro` comes to import by itself, much of it first where it is used.
_WHAT_REPRO_LOADS = (
    "dvc.cli",
    "dvc.cli.parser",
    "dvc.cachemgr",
    "dvc.data_cloud",
    "dvc.dirs",
    "dvc.dvcfile",
    "dvc.fs.git",
    "dvc.lock",
    "dvc.parsing",
    "dvc.repo.reproduce",
    "dvc.repo.artifacts",
    "dvc.repo.datasets",
    "dvc.repo.metrics",
    "dvc.repo.open_repo",
    "dvc.repo.params",
    "dvc.repo.plots",
    "dvc.repo.stage",
    "dvc.rwlock",
    "dvc.scm",
    "dvc.stage.cache",
    "dvc.stage.run",
    "dvc.utils.serialize",
    "dvc.utils.strictyaml",
    "dvc_data.hashfile.build",
    "dvc_data.hashfile.db.local",
    "dvc_data.hashfile.state",
    "dvc_data.index",
    "dvc_render.vega",
    "ruamel.yaml",
)


def main() -> None:
    """Serve until the other end of the socket is closed."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    channel.set_inheritable(False)
    load_dvc()
    gc.freeze()  # so that a look for garbage does not copy every page of what is loaded
    while (request := _request(channel)) is not None:
        command, descriptors = request
        pid = os.fork()
        if pid == 0:
            os.setsid()
            with channel:  # told only now: who knows the number may signal the group
                _answer(channel, pid=os.getpid())
            raise SystemExit(_dvc(command, descriptors))
        for descriptor in descriptors:
            os.close(descriptor)
        _, status = os.waitpid(pid, 0)
        _answer(channel, code=os.waitstatus_to_exitcode(status))


def load_dvc() -> None:
    """Load what `dvc repro` comes to need."""
    for name in _WHAT_REPRO_LOADS:
        with contextlib.suppress(ModuleNotFoundError):  # another version's; it loads its own later
            importlib.import_module(name)


def _dvc(command: dict[str, Any], descriptors: list[int]) -> int:
    """Run DVC as a program of its own would; its exit code."""
    # One that is ignored by the parent is ignored here, and then nothing could ask for a stop.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    log = descriptors[0]
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    os.chdir(command["cwd"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv[:] = ["dvc", *command["arguments"]]
    from dvc.cli import main as dvc

    write_entries_alone()
    return int(dvc(command["arguments"]))


def _request(channel: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    header, descriptors, _, _ = socket.recv_fds(channel, HEADER, MAX_DESCRIPTORS)
    if len(header) < HEADER:
        return None
    left = int.from_bytes(header, "little")
    parts = []
    while left:
        part = channel.recv(left)
        if not part:
            return None
        parts.append(part)
        left -= len(part)
    return json.loads(b"".join(parts)), descriptors


def _answer(channel: socket.socket, **words: int) -> None:
    with contextlib.suppress(OSError):  # who asked is gone, and the next request says so
        channel.sendall(json.dumps(words).encode() + b"\n")


if __name__ == "__main__":
    main()
