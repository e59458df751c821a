"""A real MLflow server, and a door before it that can be shut in the ways a network knows."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

from tests.mini.project import template
from tests.support.servers import free_port, quick_folder

from nadir.pipeline.processes.process import quiet_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STARTUP_S = 300


class MlflowServer:
    """`mlflow server` over a folder, which may be stopped and started again on the same port.

    Args:
        folder: Holds the database and the artifacts.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # With its tables, which MLflow takes seconds to make.
        shutil.copy(template() / "work/mlflow/mlflow.db", folder / "mlflow.db")
        self.folder = folder
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--workers",
            "1",
        ]
        command += ["--port", str(self.port), "--artifacts-destination", str(self.folder / "files")]
        command += ["--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}"]
        command += ["--allowed-hosts", "localhost:*,127.0.0.1:*", "--serve-artifacts"]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                env=quiet_environment(template()) | {"MLFLOW_TRACKING_URI": ""},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + STARTUP_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, (self.folder / "log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{self.uri}/health"):
                return
            time.sleep(0.1)
        raise AssertionError((self.folder / "log").read_text())

    def stop(self) -> None:
        """End it and all it started at once, as a machine that is switched off."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextlib.contextmanager
def quick_mlflow() -> Iterator[MlflowServer]:
    """A real MLflow that runs, over a folder in main memory where there is room."""
    with quick_folder() as folder:
        made = MlflowServer(folder)
        made.start()
        yield made
        made.stop()


class Door:
    """A port that passes everything on to a server, or refuses, swallows or fails instead.

    Args:
        server: Port of the server behind it; None where `lead_to` tells it later.
    """

    def __init__(self, server: int | None = None) -> None:
        self._server = server
        self._rate: float | None = None
        self._answer: bytes | None = None
        self._open: set[socket.socket] = set()
        self.port = free_port()
        self.uri = f"http://127.0.0.1:{self.port}"
        self._listener: socket.socket | None = None
        if server is not None:
            self.open()

    def lead_to(self, server: int) -> None:
        """Pass everything on to another server."""
        self._server = server
        self.open()

    def open(self) -> None:
        """Pass everything on."""
        self._rate = None
        self._serve(None)

    def slow(self, bytes_a_second: float) -> None:
        """Pass everything on, so slowly, each way of each connection."""
        self._rate = bytes_a_second
        self._serve(None)

    def shut(self) -> None:
        """Refuse every call, and cut those that are under way."""
        if self._listener is not None:
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def swallow(self) -> None:
        """Take every call and never answer."""
        self._serve(b"")

    def fail(self, status: int, body: str = "") -> None:
        """Answer every call with this status."""
        head = f"HTTP/1.1 {status} X\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        self._serve((head + body).encode())

    def _serve(self, answer: bytes | None) -> None:
        self.shut()
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=50)
        threading.Thread(target=self._accept, args=[self._listener], daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                self._open.add(connection)
                threading.Thread(target=self._talk, args=[connection], daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        answer = self._answer
        with contextlib.suppress(OSError), connection:
            if answer is None:
                assert self._server is not None
                with socket.create_connection(("127.0.0.1", self._server)) as behind:
                    self._open.add(behind)
                    back = threading.Thread(
                        target=_pump, args=[behind, connection, self._rate], daemon=True
                    )
                    back.start()
                    _pump(connection, behind, self._rate)
                    back.join()
            elif answer:
                connection.recv(1 << 16)
                connection.sendall(answer)
            else:
                while connection.recv(1 << 16):
                    pass


def _pump(source: socket.socket, target: socket.socket, rate: float | None = None) -> None:
    size = 1 << 16 if rate is None else 1 << 10
    with contextlib.suppress(OSError):
        while data := source.recv(size):
            target.sendall(data)
            if rate is not None:
                time.sleep(len(data) / rate)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
