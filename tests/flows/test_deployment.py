"""The deployments of prefect.yaml on a server of their own."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Pending, Running
from prefect.testing.utilities import prefect_test_harness
from tests.mini.project import REPOSITORY, MiniProject

from nadir.pipeline.processes.process import quiet_environment

Prefect = Callable[..., str]


@pytest.fixture
def prefect(project: MiniProject) -> Iterator[Prefect]:
    """`prefect …` in the project, against a server on loopback."""
    shutil.copytree(REPOSITORY / "flows", project.root / "flows")
    shutil.copy(REPOSITORY / "prefect.yaml", project.root)
    with prefect_test_harness(server_startup_timeout=300):
        url = PREFECT_API_URL.value()
        assert url is not None
        # A shell's own variable; prefect.yaml takes the clone's folder from it.
        environment = {**quiet_environment(project.root), "PWD": str(project.root)}

        def command(*arguments: str) -> str:
            done = subprocess.run(
                [sys.executable, "-m", "prefect", "--no-prompt", *arguments],
                cwd=project.root,
                env={**environment, "PREFECT_API_URL": url},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        yield command


def test_prefect_deploys_all_flows_into_the_clone(prefect: Prefect, project: MiniProject) -> None:
    prefect("work-pool", "create", "nadir", "--type", "process")
    prefect("deploy", "--all")
    nightly = json.loads(
        prefect("deployment", "inspect", "training-pipeline/nightly", "--output", "json")
    )
    assert nightly["work_pool_name"] == "nadir"
    assert nightly["schedules"][0]["schedule"]["cron"] == "0 2 * * *"
    assert nightly["entrypoint"] == "flows/training_pipeline.py:training_pipeline"
    (pull,) = nightly["pull_steps"]
    (step,) = pull.values()
    assert Path(step["directory"]) == project.root
    listed = prefect("deployment", "ls")
    assert "promotion/promote" in listed
    assert "reproduction/weekly" in listed
    assert takes_pools_whose_runs_have_containers()


def takes_pools_whose_runs_have_containers() -> bool:
    """Whether the server keeps the templates of docs/pools as they are."""
    with get_client(sync_client=True) as client:
        for kind in ("docker", "kubernetes"):
            text = (REPOSITORY / "docs/pools" / f"{kind}.json").read_text(encoding="utf-8")
            pool = {"name": kind, "type": kind, "base_job_template": json.loads(text)}
            client.request("POST", "/work_pools/", json=pool).raise_for_status()
            if client.read_work_pool(kind).base_job_template != json.loads(text):
                return False
    return True


def test_a_run_that_nobody_hears_of_any_more_is_marked_as_crashed(
    prefect: Prefect, root: Path
) -> None:
    """One that goes on, and one that has ended, are left alone."""
    text = (root / "docs/dead_run_automation.yaml").read_text(encoding="utf-8")
    automation = yaml.safe_load(text)
    automation["trigger"]["within"] = 10
    with get_client(sync_client=True) as client:
        client.request("POST", "/automations/", json=automation).raise_for_status()
        dead, alive, ended = [client.create_flow_run(quiet, state=Running()) for _ in range(3)]
        unheard = client.create_flow_run(quiet, state=Pending())  # its worker died at once

        def is_heard(*runs: FlowRun) -> None:
            events = [heartbeat(run) for run in runs]
            client.request("POST", "/events", json=events).raise_for_status()

        def state(run: FlowRun) -> StateType | None:
            return client.read_flow_run(run.id).state_type

        is_heard(dead, alive, ended)
        client.set_flow_run_state(ended.id, Completed(), force=True)
        deadline = time.monotonic() + 240
        while {state(dead), state(unheard)} != {StateType.CRASHED} and time.monotonic() < deadline:
            time.sleep(1)
            is_heard(alive)
        assert state(dead) == StateType.CRASHED
        assert state(unheard) == StateType.CRASHED
        assert state(alive) == StateType.RUNNING
        assert state(ended) == StateType.COMPLETED


@flow
def quiet() -> None:
    """A flow whose runs are made without running it."""


def heartbeat(run: FlowRun) -> dict[str, object]:
    """As Prefect's engine sends it."""
    resource = {"prefect.resource.id": f"prefect.flow-run.{run.id}", "prefect.resource.name": "r"}
    return {
        "id": str(uuid.uuid4()),
        "occurred": dt.datetime.now(dt.UTC).isoformat(),
        "event": "prefect.flow-run.heartbeat",
        "resource": resource,
    }
