"""A model's story, the same in embedded mode and against the whole stack.

Scheduled, skipped, cancelled, resumed, registered, approved, live, served, and back. The tests tell
one story and run in order: each starts where the last one ended.
"""

from __future__ import annotations

import base64
import json
import os
import sys
import urllib.request
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.states import Cancelling
from tests.support.servers import free_port, running
from tests.support.story import ASKED, aliases, nadir, runs, states, under_way

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.mini.project import MiniProject


class Stack(Protocol):
    """Where a project's deployments run, and what it writes to.

    Attributes:
        project: With `tests.support.story.with_story`; the current folder.
        login: What the environment of another program says of the servers.
        artifacts: What the address of a version's files begins with.
        drawn: A picture by the version that was live, for later tests.
    """

    project: MiniProject
    artifacts: str
    drawn: str

    @property
    def login(self) -> dict[str, str]: ...

    def rows(self, database: str, query: str) -> list[Any]:
        """What the database `mlflow` or `prefect` answers."""

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait for something."""


class Story:
    """Inherited by a module that has the fixture `stack`."""

    def test_a_schedule_makes_a_registered_version_with_nobody_touching_it(
        self, stack: Stack
    ) -> None:
        stack.until(lambda: "COMPLETED" in states(stack), "a scheduled run ends well")
        assert aliases(stack) == {"challenger": 1, "champion": 1}
        ((made_by,),) = stack.rows("prefect", "select distinct created_by ->> 'type' from flow_run "
                                   "where state_type = 'COMPLETED'")  # fmt: skip
        assert made_by == "SCHEDULE"
        (source,) = [
            row[0]
            for row in stack.rows(
                "mlflow", "select source from model_versions where name = 'nadir'"
            )
        ]
        assert source.startswith(stack.artifacts)

    def test_a_run_that_meets_another_is_skipped(self, stack: Stack) -> None:
        stack.project.source("slow new pictures")
        log = stack.project.root / "work/logs/train.log"
        stack.until(lambda: log.is_file() and "train: waiting" in log.read_text(), "it trains")
        before = states(stack).count("CANCELLED")
        stack.until(lambda: states(stack).count("CANCELLED") > before, "the next is skipped")
        query = "select message from flow_run_state where type = 'CANCELLED'"
        for (message,) in stack.rows("prefect", query):
            assert message.startswith("nothing done: another pipeline (process ")

    def test_a_cancelled_training_saves_and_its_runs_are_closed(self, stack: Stack) -> None:
        with get_client(sync_client=True) as client:
            nightly = client.read_deployment_by_name("training-pipeline/nightly")
            (schedule,) = nightly.schedules
            client.update_deployment_schedule(nightly.id, schedule.id, active=False)
            stack.until(lambda: under_way(stack) == ["RUNNING"], "the training is alone")
            run_id, _ = next((r, s) for r, s in runs(stack).items() if s == "RUNNING")
            client.set_flow_run_state(UUID(run_id), Cancelling())
        stack.until(lambda: not under_way(stack), "it ends")
        assert runs(stack)[run_id] == "CANCELLED"
        (saved,) = (stack.project.root / "work/training").glob("*/saved")
        assert saved.read_text() == "yes"
        assert not stack.rows("mlflow", "select * from runs where status = 'RUNNING'")
        assert aliases(stack)["challenger"] == 1

    def test_the_next_run_goes_on_from_there_and_registers_a_challenger(self, stack: Stack) -> None:
        before = states(stack).count("COMPLETED")
        with get_client(sync_client=True) as client:
            nightly = client.read_deployment_by_name("training-pipeline/nightly")
            client.create_flow_run_from_deployment(nightly.id)
        stack.until(lambda: states(stack).count("COMPLETED") > before, "it ends well")
        assert aliases(stack) == {"challenger": 2, "champion": 1}

    def test_a_person_approves_it_and_it_is_promoted(self, stack: Stack) -> None:
        stack.until(lambda: states(stack, "challenger") == ["PAUSED"], "a person is asked")
        assert aliases(stack)["champion"] == 1
        assert "goes on with it" in nadir("approve", "2", "--reason", "sharper")
        stack.until(lambda: states(stack, "challenger") == ["COMPLETED"], "it is promoted")
        assert aliases(stack) == {"champion": 2, "previous": 1}
        move = json.loads(nadir("registry", "log", "--json"))["moves"][0]
        assert (move["how"], move["from"], move["to"]) == ("promote", "1", "2")

    def test_the_champion_is_served_over_http(self, stack: Stack, tmp_path: Path) -> None:
        port = free_port()
        command = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
        command += ["-m", "models:/nadir@champion", "-h", "127.0.0.1", "-p", str(port), "-w", "1"]
        address = f"http://127.0.0.1:{port}"
        environment = {**os.environ, **stack.login}
        with running(command, f"{address}/ping", log=tmp_path / "log", environment=environment):
            body = {"inputs": ASKED}
            request = urllib.request.Request(
                f"{address}/invocations",
                json.dumps(body).encode(),
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(request, timeout=300) as answer:
                (picture,) = json.loads(answer.read())["predictions"]
        assert base64.b64decode(picture)[:4] == b"\x89PNG"
        stack.drawn = picture

    def test_the_champion_before_comes_back(self, stack: Stack) -> None:
        nadir("rollback")
        assert aliases(stack)["champion"] == 1
        assert aliases(stack)["previous"] == 2
