"""The servers of `nadir servers`, with the locked versions: schedules fire, faults show."""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from tests.mini.project import make_project
from tests.support.prefect_database import give_prefect_its_tables
from tests.support.servers import PATIENCE_S, free_port, running

from nadir.pipeline.processes.process import quiet_environment

_DEPLOY = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule

async def main():
    async with get_client() as client:
        flow = await client.create_flow_from_name("nightly")
        schedule = DeploymentScheduleCreate(schedule=CronSchedule(cron="* * * * *"), active=True)
        made = await client.create_deployment(flow, name="every-minute", schedules=[schedule])
        sys.stdout.write(str(made))

asyncio.run(main())
"""
_RUNS = """
import asyncio, sys
from prefect.client.orchestration import get_client

async def main():
    async with get_client() as client:
        runs = await client.read_flow_runs()
        sys.stdout.write(" ".join(run.expected_start_time.isoformat() for run in runs))

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def served(
    tmp_path_factory: pytest.TempPathFactory, prefect_database: Path
) -> Iterator[tuple[Path, int]]:
    """A project whose `nadir servers` runs, and the port of its Prefect page."""
    project = make_project(tmp_path_factory.mktemp("served") / "project")
    give_prefect_its_tables(project.root, prefect_database)
    mlflow, prefect = free_port(), free_port()
    command = [
        sys.executable, "-c", "from nadir.cli import main; main()", "servers",
        "--mlflow-port", str(mlflow), "--prefect-port", str(prefect),
    ]  # fmt: skip
    names = ("PREFECT_API_URL", "MLFLOW_TRACKING_URI", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL")
    environment = {k: v for k, v in quiet_environment(project.root).items() if k not in names}
    environment["PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS"] = "1"
    url = f"http://127.0.0.1:{prefect}/api/health"
    with running(command, url, log=project.root / "servers.log", environment=environment):
        yield project.root, prefect


def ask(served: tuple[Path, int], script: str) -> str:
    root, port = served
    environment = {
        **quiet_environment(root),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_HOME": str(root / "client"),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def runs_in_the_database(root: Path) -> int:
    """A look that costs no process, unlike a question to the server."""
    path = f"file:{root}/work/prefect/prefect.db?mode=ro"
    with contextlib.closing(sqlite3.connect(path, uri=True, timeout=60)) as database:
        return int(database.execute("select count(*) from flow_run").fetchone()[0])


def eventually(holds: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if holds():
            return
        time.sleep(0.2)
    raise AssertionError(log.read_text(errors="replace")[-4000:])


def test_the_scheduler_of_the_locked_server_makes_the_runs_of_a_schedule(
    served: tuple[Path, int],
) -> None:
    log = served[0] / "servers.log"
    ask(served, _DEPLOY)
    eventually(lambda: runs_in_the_database(served[0]) >= 3, log)
    starts = sorted(ask(served, _RUNS).split())
    first, second = (datetime.fromisoformat(start) for start in starts[:2])
    assert second - first == timedelta(minutes=1)
    assert "ERROR" not in log.read_text(errors="replace")


def test_what_a_server_reports_as_an_error_is_shown(served: tuple[Path, int]) -> None:
    root = served[0]
    with sqlite3.connect(root / "work/prefect/prefect.db", timeout=60) as database:
        database.execute("ALTER TABLE flow_run RENAME TO lost")
    log = root / "servers.log"
    eventually(lambda: "no such table: flow_run" in log.read_text(errors="replace"), log)
    assert "ERROR" in log.read_text(errors="replace")
