"""`nadir servers`: the MLflow and Prefect pages over this project's stores, on loopback."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import Annotated

import typer

from nadir.cli.pages import mlflow_page, prefect_page
from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root

_STOP_S = 10.0
# Of a pipeline these logs go to Prefect's page alone; a server's own faults stand on no page.
_SHOW_ERRORS = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"}


def servers(
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow page.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect page.")] = 4200,
) -> None:
    """Open the MLflow and Prefect pages of this project until Ctrl-C.

    A server that MLFLOW_TRACKING_URI or PREFECT_API_URL names runs already; its page is told.
    """
    root = project_root()
    os.chdir(root)
    told = {name: os.environ[name] for name in _SHOW_ERRORS if name in os.environ}
    from nadir.pipeline.process import quiet_environment
    from nadir.tracking.store import connect, tracking_uri

    uri = tracking_uri(root)
    if mlflow_page(uri) is None:
        connect(root)  # a store that was moved is mended before it is shown
    pages = {"MLflow": mlflow_page(uri), "Prefect": prefect_page()}
    commands = {"MLflow": _mlflow(mlflow_port), "Prefect": _prefect(prefect_port)}
    ports = {"MLflow": mlflow_port, "Prefect": prefect_port}
    # What goes wrong inside them is told here, for nobody else reads their logs.
    environment, children = {**quiet_environment(), **_SHOW_ERRORS, **told}, []
    # Not as an argument, which every user of the machine can read.
    environment["MLFLOW_BACKEND_STORE_URI"] = uri
    for name, page in pages.items():
        if page is None:
            children.append(subprocess.Popen(commands[name], env=environment))
        where = f"{page}   (runs already)" if page else f"http://127.0.0.1:{ports[name]}"
        sys.stdout.write(f"{name:<8} {where}\n")
    sys.stdout.write("(Ctrl-C ends what was started here)\n" if children else "")
    sys.stdout.flush()
    if not children:
        return
    try:
        _wait_for_first(children)
    finally:
        _stop(children)


def _mlflow(port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server"]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def _prefect(port: int) -> list[str]:
    command = [sys.executable, "-m", "prefect", "server", "start"]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


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
