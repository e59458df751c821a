"""A real Postgres of a test module's own, on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg2
import pytest
from tests.support.servers import free_port

PASSWORD = "se-cret_1"


def binaries() -> Path:
    """The newest Postgres of this machine; Debian puts no server on the path."""
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3])
    )
    on_path = shutil.which("initdb")
    if not found and on_path is None:
        pytest.skip("no Postgres server here: install Debian's package `postgresql`")
    return found[-1].parent if found else Path(str(on_path)).parent


@pytest.fixture(scope="module")
def postgres() -> Iterator[int]:
    """Port of a database server of its own, with the role and database of the stack."""
    programs = binaries()
    folder = Path(tempfile.mkdtemp(prefix="nadir-pg-"))
    # It refuses to run as root, and root's temporary folders let nobody else in.
    become: list[str] = []
    if os.getuid() == 0:
        become = ["runuser", "-u", "postgres", "--"]
        shutil.chown(folder, "postgres")
    (folder / "password").write_text(PASSWORD)
    (folder / "password").chmod(0o644)
    data, port = folder / "data", free_port()
    try:
        subprocess.run(
            [*become, programs / "initdb", "--pgdata", data, "--username", "nadir", "--no-locale",
             "--encoding", "UTF8", "--auth", "scram-sha-256", "--pwfile", folder / "password"],
            check=True, capture_output=True, cwd=folder,
        )  # fmt: skip
        start = [programs / "pg_ctl", "--pgdata", data, "--log", folder / "log", "--wait"]
        settings = f"-c listen_addresses=127.0.0.1 -p {port} -k {folder} -c fsync=off"
        subprocess.run(
            [*become, *start, "--timeout", "120", "--options", settings, "start"],
            check=True, cwd=folder, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            yield port
        finally:
            subprocess.run([*become, *start, "--mode", "immediate", "stop"], check=True, cwd=folder)
    finally:
        shutil.rmtree(folder)


def query(port: int, text: str, database: str = "mlflow") -> list[tuple[object, ...]]:
    connection = psycopg2.connect(
        host="127.0.0.1", port=port, user="nadir", password=PASSWORD, dbname=database
    )
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            cursor.execute(text)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()
