"""The stack's databases by Postgres' own tools of the server's version, here or in a container."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from nadir.ground.errors import NadirError
from nadir.pipeline.servers.stack.postgres import program, programs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DATABASES = ("mlflow", "mlflow_auth", "prefect")
_CONTAINER = ("docker", "compose", "exec", "-T", "postgres")
_TABLES = (
    "select count(*) from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'"
)


@dataclass(frozen=True)
class Databases:
    """A server and how to reach it.

    Attributes:
        root: Folder of docker-compose.yml.
        user: The role that owns the databases.
        login: Server, port and password in libpq's variables; None asks in the container, where
            the role needs no password.
    """

    root: Path
    user: str
    login: Mapping[str, str] | None

    def version(self) -> int:
        """The server's major version."""
        return int(self._ask("postgres", "show server_version_num")) // 10_000

    def tables(self, name: str) -> int:
        """How many tables a database has."""
        return int(self._ask(name, _TABLES))

    def dump(self, name: str, file: Path) -> None:
        """Write a database as one consistent state, in Postgres' own form.

        Raises:
            NadirError: The server or its tool refused.
        """
        with file.open("wb") as out:
            self._run("pg_dump", "--format", "custom", "--no-owner", name, out=out)
            out.flush()
            os.fsync(out.fileno())

    def restore(self, name: str, file: Path) -> None:
        """Fill an empty database; wholly or not at all.

        Raises:
            NadirError: The server or its tool refused.
        """
        words = ("--no-owner", "--exit-on-error", "--single-transaction", "--dbname", name)
        with file.open("rb") as text:
            self._run("pg_restore", *words, text=text)

    def _ask(self, name: str, query: str) -> str:
        words = ("--no-psqlrc", "--tuples-only", "--no-align", "--command", query)
        return self._run("psql", *words, "--dbname", name).decode().strip()

    def _run(
        self, tool: str, *words: str, out: BinaryIO | None = None, text: BinaryIO | None = None
    ) -> bytes:
        command = [*self._tool(tool), "--username", self.user, *words]
        done = subprocess.run(
            command,
            cwd=self.root,
            env={**os.environ, **(self.login or {})},
            stdin=text or subprocess.DEVNULL,
            stdout=out or subprocess.PIPE,
            stderr=subprocess.PIPE,
            check=False,
        )
        if done.returncode:
            told = done.stderr.decode(errors="replace").strip()
            raise NadirError(
                f"{tool} failed: {told}",
                where="Postgres",
                fix="start the stack's database (`make stack`, `docker compose up`), or name its "
                "port with --port postgres=NUMBER",
            )
        return done.stdout or b""

    def _tool(self, name: str) -> list[str]:
        """The tool of the server's own version where there is one: dumps are not for older ones."""
        if self.login is None:
            return [*_CONTAINER, name]
        if name == "psql":
            return [program(name)]
        version = str(self.version())
        own = [folder / name for folder in programs() if folder.parts[-2] == version]
        found = shutil.which(str(own[0])) if own else None
        return [found or program(name)]
