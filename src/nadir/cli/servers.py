"""`nadir servers`: the MLflow and Prefect pages over this project's stores, on loopback."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.cli.pages import mlflow_page, prefect_page
from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root

if TYPE_CHECKING:
    from nadir.pipeline.servers.server_process import ServerProcess

# Of a pipeline these logs go to Prefect's page alone; a server's own faults stand on no page.
_SHOW_ERRORS = {"PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "ERROR"}


def servers(
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow page.")] = 5000,
    prefect_port: Annotated[int, typer.Option(help="Port of the Prefect page.")] = 4200,
) -> None:
    """Open the MLflow and Prefect pages of this project until Ctrl-C.

    A server that MLFLOW_TRACKING_URI or PREFECT_API_URL names runs already; its page is named.
    """
    root = project_root()
    os.chdir(root)
    told = {name: os.environ[name] for name in _SHOW_ERRORS if name in os.environ}
    from nadir.pipeline.processes.process import quiet_environment
    from nadir.pipeline.processes.signals import interrupted_when_told_to_stop
    from nadir.pipeline.servers.server_process import ServerProcess, stop_all
    from nadir.pipeline.servers.temporary_server import prefect_folder, with_database
    from nadir.tracking.store.connection import connect, tracking_uri

    uri = tracking_uri(root)
    if mlflow_page(uri) is None:
        connect(root)  # a store that was moved is corrected before it is shown
    pages = {"MLflow": mlflow_page(uri), "Prefect": prefect_page()}
    commands = {"MLflow": _mlflow(mlflow_port), "Prefect": _prefect(prefect_port)}
    ports = {"MLflow": mlflow_port, "Prefect": prefect_port}
    missing = [name for name, page in pages.items() if page is None]
    _require_ports({name: ports[name] for name in missing})
    # What goes wrong inside them is shown here, as nobody else reads their logs.
    environment = {**with_database(quiet_environment()), **_SHOW_ERRORS, **told}
    # Not as an argument, which every user of the machine can read.
    environment["MLFLOW_BACKEND_STORE_URI"] = uri
    # Of its GenAI pages; each is a process more.
    environment.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")
    folders = {"MLflow": root, "Prefect": prefect_folder(environment)}
    running: list[ServerProcess] = []
    with interrupted_when_told_to_stop():
        try:
            for name in missing:
                started = ServerProcess(
                    name, commands[name], environment=environment, cwd=folders[name]
                )
                running.append(started)
            _tell(pages, ports)
            _wait_for_first(running)
        finally:
            stop_all(running)


def _mlflow(port: int) -> list[str]:
    command = [sys.executable, "-m", "mlflow", "server"]
    return [*command, "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]


def _prefect(port: int) -> list[str]:
    command = [sys.executable, "-m", "prefect", "server", "start"]
    return [*command, "--host", "127.0.0.1", "--port", str(port)]


def _require_ports(ports: dict[str, int]) -> None:
    """Refuse at once what a server would say after it has loaded."""
    from nadir.pipeline.servers.server_process import port_is_free

    for name, port in ports.items():
        if not port_is_free(port) or list(ports.values()).count(port) > 1:
            raise NadirError(
                f"port {port} is taken",
                where=f"the {name} page",
                fix=f"choose another with --{name.lower()}-port, or end what listens there",
            )


def _tell(pages: dict[str, str | None], ports: dict[str, int]) -> None:
    for name, page in pages.items():
        where = f"{page}   (runs already)" if page else f"http://127.0.0.1:{ports[name]}"
        sys.stdout.write(f"{name:<8} {where}\n")
    if None in pages.values():
        sys.stdout.write("(Ctrl-C ends what was started here)\n")
    sys.stdout.flush()


def _wait_for_first(running: list[ServerProcess]) -> None:
    """Return when there is nothing to wait for; raise when a server has ended."""
    while running:
        for server in running:
            status = server.status()
            if status is not None:
                told = "".join(f"\n    {line}" for line in server.last_lines())
                raise NadirError(
                    f"the {server.name} server ended by itself with status {status}, so the other "
                    f"one is ended too; its last lines:{told or ' none'}",
                    fix="correct what they name and start again",
                )
        time.sleep(0.2)
