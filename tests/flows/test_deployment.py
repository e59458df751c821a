"""The deployments of prefect.yaml on a server of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness
from tests.mini.project import REPOSITORY, MiniProject

from nadir.pipeline.processes.process import quiet_environment

Prefect = Callable[..., str]


@pytest.fixture
def prefect(project: MiniProject) -> Iterator[Prefect]:
    """`prefect …` in the project, against a server on loopback."""
    shutil.copytree(REPOSITORY / "flows", project.root / "flows")
    shutil.copy(REPOSITORY / "prefect.yaml", project.root)
    before = dict(os.environ)
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
    os.environ.clear()
    os.environ.update(before)


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
