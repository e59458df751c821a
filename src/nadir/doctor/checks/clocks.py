"""The clocks of machine, disk and servers: by them DVC, leases and S3's signatures decide."""

from __future__ import annotations

import os
import tempfile
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from nadir.doctor.checks.servers import addresses
from nadir.doctor.finding import Check, Finding, failed, none, ok, warning
from nadir.doctor.scene import ask

if TYPE_CHECKING:
    from nadir.doctor.scene import Scene

_DISK_S, _SERVER_S = 2.0, 60.0
_SET = "set it by NTP, e.g. `timedatectl set-ntp true`"
_WATCHED = ("params.yaml", "dvc.yaml", "dvc.lock")


def _disk_clock(scene: Scene) -> Finding:
    """A file's time is the file system's, which on a network is another machine's."""
    scene.work.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=scene.work) as file:
        before = time.time()
        file.write(b"x")
        file.flush()
        apart = os.fstat(file.fileno()).st_mtime - before
    if abs(apart) <= _DISK_S:
        return ok("the disk's clock agrees with this machine's")
    return failed(
        f"the disk's clock is {apart:+.0f} s from this machine's",
        f"the machine that serves the disk and this one need one time: {_SET} on both",
    )


def _future(scene: Scene) -> Finding:
    """What was changed in the future looks unchanged to whoever compares times."""
    now = time.time()
    ahead = [n for n in _WATCHED if _time(scene, n) > now + _DISK_S]
    if not ahead:
        return ok("no file was changed in the future")
    return warning(
        f"{', '.join(ahead)} {'was' if len(ahead) == 1 else 'were'} changed in the future: the "
        "clock went back since, or is wrong now",
        f"see `date`; if it is right, `touch {' '.join(ahead)}`",
    )


def _time(scene: Scene, name: str) -> float:
    path = scene.root / name
    return path.stat().st_mtime if path.is_file() else 0.0


def _server_clocks(scene: Scene) -> Finding:
    named = addresses(scene)
    if not named:
        return none("no server is named")
    told = []
    for name, url in named.items():
        answer = ask(url, scene)
        if not answer.date:
            continue  # away, which is another check's, or it says no time
        apart = parsedate_to_datetime(answer.date).timestamp() - time.time()
        told.append(f"{name} {apart:+.0f} s")
        if abs(apart) > _SERVER_S:
            return failed(
                f"{name}'s clock is {apart:+.0f} s from this machine's; S3 refuses signatures, and "
                "schedules and leases go wrong",
                f"whichever is wrong: {_SET}",
            )
    return ok(f"servers' clocks: {', '.join(told)}") if told else none("no server says its time")


CLOCKS = (
    Check("disk-clock", "clocks", _disk_clock),
    Check("file-times", "clocks", _future),
    Check("server-clocks", "clocks", _server_clocks),
)
