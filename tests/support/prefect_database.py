"""Prefect's database as it is after the server's first start, made once for all tests.

Half of what a first start costs are three hundred migrations.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

import pytest
from filelock import FileLock
from tests.mini.project import MiniProject, make_project

from nadir.pipeline.servers.temporary_server import temporary_server


@pytest.fixture(scope="session")
def prefect_database(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The file; no flow or run is in it."""
    shared = tmp_path_factory.getbasetemp()
    if worker_id != "master":
        shared = shared.parent  # of all workers
    made = shared / "prefect.db"
    with FileLock(shared / "prefect.lock"):
        if not made.exists():
            _make(made, shared / "prefect-project")
    return made


@pytest.fixture(autouse=True)
def _prefect_has_its_tables(request: pytest.FixtureRequest) -> None:
    """Tests that have a miniature project start its server as for a second time."""
    for name in {"project", "trained"} & {*request.fixturenames}:
        project = request.getfixturevalue(name)
        if isinstance(project, MiniProject):
            give_prefect_its_tables(project.root, request.getfixturevalue("prefect_database"))


def give_prefect_its_tables(root: Path, database: Path) -> None:
    """Let the project at `root` begin with that database."""
    home = root / "work/prefect"
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(database, home / "prefect.db")


def _make(target: Path, root: Path) -> None:
    make_project(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PREFECT_API_URL", "PREFECT_HOME", "PREFECT_PROFILE"):
            patch.delenv(name, raising=False)
        with temporary_server(root, say=print):
            pass
    with contextlib.closing(sqlite3.connect(root / "work/prefect/prefect.db")) as history:
        history.execute("VACUUM INTO ?", (str(target),))
