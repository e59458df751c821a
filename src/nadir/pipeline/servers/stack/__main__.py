"""`make stack`: the services of docker-compose.yml on this machine, until Ctrl-C.

python -m nadir.pipeline.servers.stack [--state FOLDER] [--port NAME=NUMBER ...] [SERVICE ...]
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from nadir.ground.errors import NadirError
from nadir.ground.workspace import main_workspace, project_root
from nadir.pipeline.processes.signals import interrupted_when_told_to_stop
from nadir.pipeline.servers.stack.native import Native, chosen_ports
from nadir.pipeline.servers.stack.running import Stack
from nadir.pipeline.servers.stack.settings import (
    SECRETS_FILE,
    read_services,
    read_variables,
    with_needs,
)


def main() -> None:
    """Start them, say where they are, end them all when this process ends."""
    asked = _arguments()
    try:
        with interrupted_when_told_to_stop():
            _serve(asked.state, asked.port, asked.services)
    except KeyboardInterrupt:
        sys.stdout.write("ended\n")
    except NadirError as error:
        raise SystemExit(f"error: {error}") from None


def _serve(state: Path | None, ports: list[str], names: list[str]) -> None:
    root = project_root()
    values = {**read_variables(root / SECRETS_FILE), **os.environ}
    services = with_needs(read_services(root, values), names)
    place = (state or main_workspace(root) / "work" / "stack").absolute()
    place.mkdir(parents=True, exist_ok=True)
    stack = Stack(Native(root, place, chosen_ports(ports)), services, _say)
    stack.require()
    try:
        stack.start()
        _say("all are ready; Ctrl-C ends them")
        stack.wait()
    finally:
        stack.stop()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make stack", description=main.__doc__)
    parser.add_argument("--state", type=Path, help="folder of its stores; work/stack unless told")
    parser.add_argument("--port", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("services", nargs="*", help="these and what they need; all unless told")
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
