"""Prefect's server for the length of a run: its own words are shown when it cannot start.

Prefect's way of starting one asks it through whatever proxy the environment names, starts it anew
for ever when it ends by itself, and shows nothing of what it said.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError, disk_full_error
from nadir.ground.loopback import proxy_variables
from nadir.ground.workspace import main_workspace
from nadir.pipeline.processes.process import quiet_environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_TIMEOUT_VARIABLE = "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"
_HOME_VARIABLE = "PREFECT_HOME"
_DATABASE_VARIABLES = (
    "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    "PREFECT_API_DATABASE_CONNECTION_URL",
)
# Relative to the server's own folder, since SQLAlchemy and alembic each take some characters of a
# path for something else.
_DATABASE = "sqlite+aiosqlite:///prefect.db"
_TELL_AFTER_S = 10.0
_STOP_S = 5.0
_POLL_S = 0.1
_LAST_LINES = 12
_PORTS = 5
_TAKEN = "address already in use"
# It ends with the process that started it, also when that is killed.
_SERVE = (
    "import runpy; from nadir.compute.parent_death import die_with_parent; die_with_parent(); "
    "runpy.run_module('uvicorn', run_name='__main__', alter_sys=True)"
)
_APP = ("--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1")


@contextlib.contextmanager
def temporary_server(
    root: Path, *, say: Callable[[str], None], meanwhile: Callable[[], None] = lambda: None
) -> Iterator[str]:
    """Start Prefect's server on a free port of loopback; end it with the block.

    Args:
        root: The project's root.
        say: Called with what is waited for when it takes long.
        meanwhile: Called once while the server starts, which takes seconds.

    Yields:
        The address of its API.

    Raises:
        NadirError: It cannot start; the text has its last lines.
    """
    environment = _environment(root)
    folder = prefect_folder(environment)
    log = main_workspace(root) / "work" / "logs" / "prefect.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    child, url = _start(folder, environment, log, say, meanwhile)
    try:
        yield url
    finally:
        _stop(child)


def prefect_environment() -> dict[str, str]:
    """The environment for this process before it imports Prefect, which reads it while it loads.

    A folder of Prefect's that cannot be made is an error when a server is started in it; Prefect's
    own warning would come first.
    """
    warnings.filterwarnings("ignore", message="Failed to create the Prefect home")
    return quiet_environment()


def prefect_folder(environment: dict[str, str]) -> Path:
    """`PREFECT_HOME`, made if it is not there.

    Raises:
        NadirError: It cannot be made or written.
    """
    folder = Path(environment[_HOME_VARIABLE]).expanduser().absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise disk_full_error(error, where=str(folder)) or NadirError(
            f"Prefect's folder cannot be written ({error.strerror})",
            where=str(folder),
            fix=f"let {_HOME_VARIABLE} name a folder that you may write, or unset it: then it is "
            "work/prefect",
        ) from error
    return folder


def with_database(environment: dict[str, str]) -> dict[str, str]:
    """The environment of a server that is started in `prefect_folder`: its database lies there."""
    if any(environment.get(name) for name in _DATABASE_VARIABLES):
        return environment
    return {**environment, _DATABASE_VARIABLES[0]: _DATABASE}


def _environment(root: Path) -> dict[str, str]:
    environment = quiet_environment(root)
    # Its word goes to a file, which holds what is wrong and no more.
    environment["PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"] = "ERROR"
    environment |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    environment["PREFECT__SERVER_FINAL"] = "1"
    environment = with_database(environment)
    for name in proxy_variables(environment):
        del environment[name]
    return environment


def _start(
    folder: Path,
    environment: dict[str, str],
    log: Path,
    say: Callable[[str], None],
    meanwhile: Callable[[], None],
) -> tuple[subprocess.Popen[bytes], str]:
    for attempt in range(_PORTS):
        child, url = _launch(folder, environment, log)
        try:
            if not attempt:
                meanwhile()
            if _answers(child, url, float(environment[_TIMEOUT_VARIABLE]), say):
                return child, url
        except BaseException:
            _stop(child)
            raise
        code = child.poll()
        _stop(child)
        if code is None or _TAKEN not in _text(log):
            break
    raise _cannot_start(code, log)


def _launch(
    folder: Path, environment: dict[str, str], log: Path
) -> tuple[subprocess.Popen[bytes], str]:
    port = _free_port()
    with log.open("wb") as out:
        child = subprocess.Popen(
            [sys.executable, "-c", _SERVE, *_APP, "--port", str(port), "--log-level", "error"],
            cwd=folder,
            env={**environment, _HOME_VARIABLE: str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the flow, which still has to tell its end
        )
    return child, f"http://127.0.0.1:{port}/api"


def _answers(
    child: subprocess.Popen[bytes], url: str, timeout_s: float, say: Callable[[str], None]
) -> bool:
    """Whether the server came up; false as soon as it has ended, or when the time is over."""
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    start, told = time.monotonic(), False
    while child.poll() is None and time.monotonic() - start < timeout_s:
        with contextlib.suppress(OSError), ask(f"{url}/health", timeout=5.0) as answer:
            if answer.status == 200:
                return child.poll() is None
        if not told and time.monotonic() - start > _TELL_AFTER_S:
            say("waiting for Prefect's temporary server: it has not answered for 10 s yet")
            told = True
        time.sleep(_POLL_S)
    return False


def _cannot_start(code: int | None, log: Path) -> NadirError:
    last = [line for line in _text(log).splitlines() if line.strip()][-_LAST_LINES:]
    told = "".join(f"\n    {line}" for line in last) or "\n    (it said nothing)"
    what = "does not answer" if code is None else f"ended with status {code}"
    return NadirError(
        f"Prefect's temporary server {what}; its last lines:{told}",
        where=str(log),
        fix=f"correct that; a damaged history is made anew when the folder {_HOME_VARIABLE} "
        "names (else work/prefect) is moved away. Or let PREFECT_API_URL name a running server",
    )


def _text(log: Path) -> str:
    return log.read_text(encoding="utf-8", errors="replace")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(timeout=_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()
