"""From a trained model to a live one and back: worse, undecided, approved, rolled back, all logged.

A real Prefect server and worker; the registration's event starts the deployment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from tests.flows.test_training_pipeline import load
from tests.mini.project import MiniProject, trained
from tests.support.prefect_database import _prefect_has_its_tables, prefect_database
from tests.support.prefect_servers import Servers, prefect_servers
from typer.testing import CliRunner

from nadir.cli import app
from nadir.tracking.registry.versions import alias_table
from nadir.tracking.store.connection import connect

__all__ = ["_prefect_has_its_tables", "prefect_database", "trained"]
RUNS = """
select run.state_name, state.message, run.id from flow_run run
join deployment on deployment.id = run.deployment_id
join flow_run_state state on state.id = run.state_id
where deployment.name = 'challenger' order by run.created
"""


@pytest.fixture
def servers(trained: MiniProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[Servers]:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    with prefect_servers(trained, monkeypatch) as made:
        made.start()
        made.prefect("work-pool", "create", "nadir", "--type", "process")
        made.prefect("deploy", "--all")
        made.start_worker()
        with temporary_settings({PREFECT_API_URL: made.url}):
            yield made
            # While its server is there; else later tests of this process send their events to it.
            EventsWorker.drain_all(timeout=60, at_exit=False)


def nadir(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def ended(servers: Servers, number: int, state: str) -> tuple[str, str]:
    """Message and id of the run for a challenger, once it is in a state."""
    servers.until(
        lambda: [row[0] for row in servers.rows(RUNS)][number - 1 :] == [state], f"{number} {state}"
    )
    _, message, run_id = servers.rows(RUNS)[-1]
    return message, run_id


def test_a_model_goes_live_by_approval_and_back_and_the_log_shows_all_of_it(
    servers: Servers, trained: MiniProject
) -> None:
    flow, client = load("training_pipeline"), connect(trained.root)
    flow.run_pipeline()
    assert alias_table(client, "nadir") == {"challenger": "1", "champion": "1"}
    # Worse.
    trained.source("set 1")
    flow.run_pipeline()
    message, _ = ended(servers, 1, "NotPromoted")
    assert "version 2 beside version 1 is `reject`: worse than the champion: loss +0.1" in message
    # Undecided.
    trained.source("noisy pictures")
    flow.run_pipeline()
    message, _ = ended(servers, 2, "NotPromoted")
    assert "version 3 beside version 1 is `inconclusive`: " in message
    assert "prompts would settle it" in message
    # Better: somebody is asked, and the worker is free meanwhile.
    trained.source("new pictures")
    flow.run_pipeline()
    _, run_id = ended(servers, 3, "Suspended")
    assert alias_table(client, "nadir")["champion"] == "1"
    (form,) = servers.rows("select value from flow_run_input where key like '%-schema'")
    (told,) = servers.rows("select value from flow_run_input where key like '%-description'")
    assert {"decision", "reason", "who"} == set(json.loads(form[0])["properties"])
    assert "**nadir version 4**, beside the champion, version 1: **promote**" in told[0]
    assert "judgement/judgement.html" in told[0]
    assert "goes on with it" in nadir("approve", "4", "--reason", "sharper")
    ended(servers, 3, "Completed")
    assert alias_table(client, "nadir") == {"champion": "4", "previous": "1"}
    assert nadir("rollback") == "nadir: the champion is now version 1, before it version 4\n"
    check_log(json.loads(nadir("registry", "log", "--json")), run_id)


def check_log(log: dict[str, Any], run_id: str) -> None:
    assert [(m["how"], m["from"], m["to"]) for m in log["moves"]] == [
        ("back", "4", "1"),
        ("promote", "1", "4"),
        ("first", None, "1"),
    ]
    assert log["moves"][1]["flow_run"] == run_id
    approved, asked, undecided, worse = log["decisions"]
    assert [(d["what"], d["version"], d["verdict"]) for d in log["decisions"]] == [
        ("approved", 4, "promote"),
        ("asked", 4, "promote"),
        ("refused", 3, "inconclusive"),
        ("refused", 2, "reject"),
    ]
    assert approved["reason"] == "sharper"
    assert "(flow run " in approved["who"]
    assert approved["flow_run"] == asked["flow_run"] == run_id
    assert "prompts would settle it" in undecided["reason"]
    assert "loss" in worse["reason"]
    assert log["fault"] == ""
