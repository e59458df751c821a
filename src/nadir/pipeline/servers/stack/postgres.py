"""A Postgres of the stack's own, from the system's package; the image's entry does the same."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping

_DEBIAN = Path("/usr/lib/postgresql")
_LAST_S, _POLL_S = 15.0, 0.2
_FIX = "install it by the system's packages, such as Debian's `postgresql`"


def programs() -> list[Path]:
    """Folders of Postgres' programs that are not on the path, the newest version first."""
    found = _DEBIAN.glob("*/bin/initdb")
    return [p.parent for p in sorted(found, key=lambda p: float(p.parts[-3]), reverse=True)]


def program(name: str) -> str:
    """The place of one of Postgres' programs.

    Raises:
        NadirError: There is none.
    """
    path = os.pathsep.join([*(str(folder) for folder in programs()), os.environ.get("PATH", "")])
    found = shutil.which(name, path=path)
    if found is None:
        raise NadirError(f"the program `{name}` is not on this machine", where="Postgres", fix=_FIX)
    return found


def as_its_user() -> list[str]:
    """What a command begins with that root must not run: Postgres refuses to be root."""
    return ["runuser", "-u", "postgres", "--"] if os.getuid() == 0 else []


def make_cluster(data: Path, user: str, password: str) -> None:
    """Make the files of a server unless they are there; what a kill left half-made is made anew.

    Args:
        data: Their folder, which holds nothing else.
        user: Name of the first role.
        password: Its password; every connection asks for one.

    Raises:
        NadirError: Postgres is not there, cannot write the folder, or something else lies in it.
    """
    if (data / "PG_VERSION").is_file():
        return
    if data.is_dir() and any(data.iterdir()):
        raise NadirError(
            "something lies where Postgres is to have its files",
            where=str(data),
            fix="name another folder with --state, or move it away",
        )
    new = data.with_name(f"{data.name}.unfinished")
    shutil.rmtree(new, ignore_errors=True)
    _init(new, user, password)
    new.replace(data)  # over an empty folder, if there is one


def _init(data: Path, user: str, password: str) -> None:
    initdb = program("initdb")
    data.mkdir(mode=0o700, parents=True)
    with tempfile.NamedTemporaryFile(mode="w") as file:
        file.write(password)
        file.flush()
        if os.getuid() == 0:
            for path in (data, file.name):
                shutil.chown(path, "postgres")
        _run(
            [*as_its_user(), initdb, "--pgdata", str(data), "--username", user, "--no-locale",
             "--encoding", "UTF8", "--auth", "scram-sha-256", "--pwfile", file.name],
            data,
        )  # fmt: skip


def wait_for_the_last(data: Path) -> None:
    """Give the server that had these files before some seconds to be gone.

    After `kill -9` its processes end by themselves, and until the system has buried the last of
    them Postgres takes its files for another server's.
    """
    deadline = time.monotonic() + _LAST_S
    with contextlib.suppress(OSError, ValueError, IndexError):
        last = int((data / "postmaster.pid").read_text().splitlines()[0])
        while psutil.pid_exists(last) and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def server_command(data: Path, port: int) -> list[str]:
    """The server in the foreground, on loopback alone and without a socket in the file system."""
    settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": ""}
    options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
    return [*as_its_user(), program("postgres"), "-D", str(data), *options]


def make_databases(file: Path, environment: Mapping[str, str]) -> None:
    """Make the databases that are missing.

    Args:
        file: SQL that makes them.
        environment: Names server, role and password by libpq's own variables.

    Raises:
        NadirError: The server refused; the text has its words.
    """
    command = [program("psql"), "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]
    _run([*command, "--dbname", "postgres", "--file", str(file)], file.parent, environment)


def _run(command: list[str], where: Path, environment: Mapping[str, str] | None = None) -> None:
    done = subprocess.run(
        command,
        env=None if environment is None else dict(environment),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NadirError(
            f"Postgres refuses: {(done.stderr or done.stdout).strip()}",
            where=str(where),
            fix="a password that is no longer the one it was made with: move the stack's folder "
            "away. A folder that its user may not enter (root starts it as `postgres`): run "
            "`make stack` as another user",
        )
