"""`nadir servers`: the MLflow and Prefect pages over this project's stores, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Annotated

import typer

from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root

_STOP_S = 10.0


def servers(
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow page.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect page.")] = 4200,
) -> None:
    """Open the MLflow and Prefect pages of this project until Ctrl-C."""
    root = project_root()
    os.chdir(root)
    from nadir.pipeline.process import quiet_environment
    from nadir.tracking.store import tracking_uri

    environment = quiet_environment()
    module = [sys.executable, "-m"]
    mlflow = [*module, "mlflow", "server", "--backend-store-uri", tracking_uri(root)]
    mlflow += ["--host", "127.0.0.1", "--port", str(mlflow_port), "--workers", "1"]
    prefect = [*module, "prefect", "server", "start"]
    prefect += ["--host", "127.0.0.1", "--port", str(prefect_port)]
    children = [subprocess.Popen(command, env=environment) for command in (mlflow, prefect)]
    sys.stdout.write(f"MLflow   http://127.0.0.1:{mlflow_port}\n")
    sys.stdout.write(f"Prefect  http://127.0.0.1:{prefect_port}\n(Ctrl-C ends both)\n")
    sys.stdout.flush()
    try:
        _wait_for_first(children)
    finally:
        _stop(children)


def _wait_for_first(children: list[subprocess.Popen[bytes]]) -> None:
    while all(child.poll() is None for child in children):
        time.sleep(0.5)
    raise NadirError(
        "a server ended by itself; its last lines are above",
        fix="if its port is taken, choose another with --mlflow-port or --prefect-port",
    )


def _stop(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.terminate()
    deadline = time.monotonic() + _STOP_S
    for child in children:
        try:
            child.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            child.kill()
