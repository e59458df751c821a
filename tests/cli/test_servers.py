"""`nadir servers` ends what it started, however it is ended itself."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import psutil
import pytest
from tests.mini.project import MiniProject, project
from tests.support.mlflow_server import free_port
from tests.support.prefect_database import _prefect_has_its_tables, prefect_database

__all__ = ["_prefect_has_its_tables", "prefect_database", "project"]

PATIENCE_S = 300


class Started:
    """`nadir servers` on free ports."""

    def __init__(self, root: MiniProject, **ports: int) -> None:
        self.ports = {"mlflow": free_port(), "prefect": free_port(), **ports}
        options = [f"--{name}-port={port}" for name, port in self.ports.items()]
        names = {"PREFECT_API_URL", "MLFLOW_TRACKING_URI"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from nadir.cli import main; main()", "servers", *options],
            cwd=root.root,
            env={name: value for name, value in os.environ.items() if name not in names},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Under nohup it would be ignored, and a closed terminal end nothing.
            preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # noqa: PLW1509
        )

    def wait_for_line(self, text: str) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if text in line:
                return
        raise AssertionError(text)

    def wait_for_page(self, name: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            assert self.process.poll() is None
            with (
                contextlib.suppress(OSError),
                urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}"),
            ):
                return
            time.sleep(0.2)
        raise AssertionError(name)

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@pytest.fixture
def started(project: MiniProject) -> Iterator[Started]:
    made = Started(project)
    yield made
    made.process.kill()
    made.process.communicate()


def nobody_is_left(processes: list[psutil.Process]) -> bool:
    _, alive = psutil.wait_procs(processes, timeout=300)
    return not [p for p in alive if p.status() != psutil.STATUS_ZOMBIE]


def test_sigterm_ends_both_servers_and_all_they_started(started: Started) -> None:
    for name in ("mlflow", "prefect"):
        started.wait_for_page(name)
    children = started.children()
    assert len(children) >= 4
    started.process.send_signal(signal.SIGTERM)
    output, _ = started.process.communicate(timeout=120)
    assert started.process.returncode == 130
    assert "Traceback" not in output
    assert nobody_is_left(children)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_closed_terminal_or_a_kill_leaves_no_server_either(
    number: signal.Signals, started: Started
) -> None:
    started.wait_for_line("Ctrl-C")
    children = started.children()
    assert len(children) >= 2
    started.process.send_signal(number)
    assert nobody_is_left(children)


def test_when_one_server_dies_the_other_is_ended_and_the_reason_is_told(
    started: Started, project: MiniProject
) -> None:
    started.wait_for_line("Ctrl-C")
    deadline = time.monotonic() + PATIENCE_S
    found: list[psutil.Process] = []
    while not found and time.monotonic() < deadline:
        children = started.children()
        found = [p for p in children if p.cmdline()[1:4] == ["-m", "prefect", "server"]]
        time.sleep(0.05)
    found[0].kill()
    output, _ = started.process.communicate(timeout=PATIENCE_S)
    assert started.process.returncode == 1
    assert "error: the Prefect server ended by itself with status 247" in output
    assert nobody_is_left(children)


def test_a_server_that_cannot_start_shows_its_last_lines(project: MiniProject) -> None:
    home = project.root / "work/prefect"
    home.mkdir(parents=True, exist_ok=True)
    (home / "prefect.db").write_bytes(b"no database, for what fits in here" * 100)
    started = Started(project)
    output, _ = started.process.communicate(timeout=PATIENCE_S)
    assert started.process.returncode == 1
    _, told = output.split("error: the Prefect server ended by itself")
    assert "file is not a database" in told


@pytest.mark.parametrize("name", ["mlflow", "prefect"])
def test_a_port_that_is_taken_is_told_before_anything_starts(
    name: str, project: MiniProject
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        started = Started(project, **{name: port})
        output, _ = started.process.communicate(timeout=PATIENCE_S)
    assert started.process.returncode == 1
    assert f"port {port} is taken\n  fix: choose another with --{name}-port" in output
