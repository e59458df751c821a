"""Starts services in the order of their needs, keeps them running, ends all of them."""

from __future__ import annotations

import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from nadir.ground.errors import NadirError
from nadir.pipeline.servers.server_process import ServerProcess, port_is_free, stop_all
from nadir.pipeline.servers.stack.postgres import (
    make_cluster,
    make_databases,
    server_command,
    wait_for_the_last,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from nadir.pipeline.servers.stack.native import Native
    from nadir.pipeline.servers.stack.settings import Service

_PATIENCE_S = 300.0
_CHECK_S = 10.0
_POLL_S = 0.5
# Docker's own: the pause before a service is started again doubles while it ends at once.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _STEADY_S = 0.1, 60.0, 10.0


@dataclass
class _Pause:
    """How long a service that ends by itself is left before it is started again."""

    seconds: float = 0.0
    since: float = 0.0
    over: float | None = None

    def begin(self) -> None:
        now = time.monotonic()
        steady = now - self.since > _STEADY_S
        longer = min(2 * self.seconds, _LONGEST_PAUSE_S)
        self.seconds = _FIRST_PAUSE_S if steady else max(longer, _FIRST_PAUSE_S)
        self.over = now + self.seconds

    def end(self) -> None:
        self.since, self.over = time.monotonic(), None


@dataclass
class Stack:
    """The services as processes of this machine.

    Attributes:
        native: Where they run.
        services: Those that are wanted, by name.
        say: Called with a line for each that has become ready.
    """

    native: Native
    services: Mapping[str, Service]
    say: Callable[[str], None]
    _processes: dict[str, ServerProcess] = field(default_factory=dict)
    _ready: set[str] = field(default_factory=set)

    def require(self) -> None:
        """Refuse at once what would fail half-way.

        Raises:
            NadirError: A port is taken, or a program is not on this machine.
        """
        taken: dict[int, str] = {}
        for name in self.services:
            port = self.native.ports.get(name)
            if port is not None and (port in taken or not port_is_free(port)):
                raise NadirError(
                    f"port {port} is taken" + (f" by {taken[port]}" if port in taken else ""),
                    where=f"service {name}",
                    fix=f"choose another with `--port {name}=NUMBER`, or end what listens there",
                )
            if port is not None:
                taken[port] = name
        for service in self.services.values():
            if service.command:
                self.native.command(service)
            self.native.check(service)

    def start(self) -> None:
        """Start all; return when all are ready.

        Raises:
            NadirError: One ended, or did not become healthy in time.
        """
        deadline = time.monotonic() + _PATIENCE_S
        while len(self._ready) < len(self.services):
            for service in self.services.values():
                if service.name not in self._processes and self._ready.issuperset(service.needs):
                    self._processes[service.name] = self._started(service)
            self._look(deadline)
            time.sleep(_POLL_S)

    def wait(self) -> None:
        """Return never; what ends by itself is started again where the compose file has it so.

        Raises:
            NadirError: A service ended that is not to be started again, or it cannot be.
        """
        pauses = {name: _Pause() for name, service in self.services.items() if not service.once}
        while True:
            for name, pause in pauses.items():
                self._keep(name, pause)
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End all, those first that need others."""
        while self._processes:
            needed = {n for name in self._processes for n in self.services[name].needs}
            free = [name for name in self._processes if name not in needed]
            stop_all([self._processes.pop(name) for name in free])

    def _keep(self, name: str, pause: _Pause) -> None:
        process = self._processes[name]
        if process.status() is None:
            return
        if not self.services[name].restarts:
            raise _ended(process)
        if pause.over is None:
            stop_all([process])  # what it has left behind
            pause.begin()
            self.say(
                f"{name} ended by itself with status {process.status()} and is started again; "
                f"its last lines:{_told(process)}"
            )
        elif time.monotonic() >= pause.over:
            self._processes[name] = self._started(self.services[name])
            pause.end()

    def _started(self, service: Service) -> ServerProcess:
        environment = self.native.environment(service)
        command = self.native.command(service) if service.command else []
        if service.name == "postgres":
            (data,) = (self.native.state / v for v in service.mounts.values() if v[0] != ".")
            own = service.environment
            make_cluster(data, own["POSTGRES_USER"], own["POSTGRES_PASSWORD"])
            wait_for_the_last(data)
            command = server_command(data, self.native.ports["postgres"])
        cwd = self.native.folder(service)
        return ServerProcess(service.name, command, environment=environment, cwd=cwd)

    def _look(self, deadline: float) -> None:
        for name, process in self._processes.items():
            service = self.services[name]
            if name in self._ready:
                continue
            status = process.status()
            if status is not None and (status or not service.once):
                raise _ended(process)
            if status == 0 or (not service.once and self._is_healthy(service)):
                self._ready.add(name)
                self.say(f"{name:<10} {self._address(name)}")
            elif time.monotonic() > deadline:
                raise NadirError(
                    f"{name} is not healthy after {_PATIENCE_S:.0f} s; its last lines:"
                    + _told(process),
                    where=f"service {name}",
                    fix="correct what they name, then start again",
                )

    def _is_healthy(self, service: Service) -> bool:
        environment = self.native.environment(service)
        if service.name == "postgres":
            environment |= login(service, self.native)
        try:
            subprocess.run(
                self.native.check(service),
                env=environment,
                cwd=self.native.folder(service),
                capture_output=True,
                timeout=_CHECK_S,
                check=True,
            )
        except (subprocess.TimeoutExpired, subprocess.CalledProcessError):
            return False
        if service.name == "postgres":
            sql = next(v for v in service.mounts.values() if v.endswith(".sql"))
            make_databases(self.native.root / sql, environment)
        return True

    def _address(self, name: str) -> str:
        port = self.native.ports.get(name)
        return "done" if port is None else f"127.0.0.1:{port}"


def login(service: Service, native: Native) -> dict[str, str]:
    """Server, role and password of the database in libpq's own variables."""
    own = service.environment
    return {
        "PGHOST": "127.0.0.1",
        "PGPORT": str(native.ports["postgres"]),
        "PGUSER": own["POSTGRES_USER"],
        "PGPASSWORD": own["POSTGRES_PASSWORD"],
    }


def _ended(process: ServerProcess) -> NadirError:
    return NadirError(
        f"the service ended by itself with status {process.status()}, so the others are ended too; "
        f"its last lines:{_told(process)}",
        where=f"service {process.name}",
        fix="correct what they name, then start again",
    )


def _told(process: ServerProcess) -> str:
    return "".join(f"\n    {line}" for line in process.last_lines()) or " none"
