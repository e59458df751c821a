"""A Prefect server that is restarted while a deployment's run is at work."""

from __future__ import annotations

import json
import time

from tests.support.prefect_servers import Servers

STATES = "select state_type, id from flow_run order by created"


def test_a_run_outlives_a_restart_of_the_server_and_one_that_meets_it_is_cancelled(
    waiting_servers: Servers,
) -> None:
    servers = waiting_servers
    root = servers.root
    servers.environment |= {"NADIR_LOG": "json", "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO"}
    servers.start()
    servers.prefect("work-pool", "create", "nadir", "--type", "process")
    servers.prefect("deploy", "--all")
    assert servers.rows("select name, concurrency_limit_id from deployment order by name") == [
        ("challenger", None),
        ("nightly", None),
        ("promote", None),
        ("weekly", None),
    ]
    servers.start_worker()
    run = ("deployment", "run", "training-pipeline/nightly", "--param", "until=base_model")
    servers.prefect(*run)
    servers.until((root / "started").exists, "the stage starts")
    servers.prefect(*run)
    servers.until(lambda: servers.rows(STATES)[-1][0] == "CANCELLED", "the second is cancelled")
    (message,) = servers.rows("select message from flow_run_state where type = 'CANCELLED'")
    assert "nothing done: another pipeline (process " in message[0]
    servers.stop()
    time.sleep(5.0)
    servers.start()
    (root / "go").touch()
    servers.until(lambda: servers.rows(STATES)[0][0] == "COMPLETED", "the first is completed")
    told = [text for (text,) in servers.rows("select message from log") if "changed: " in text]
    assert "dvc.yaml" in told[0], "what is dirty is said"
    assert [state for state, _ in servers.rows(STATES) if state != "SCHEDULED"] == [
        "COMPLETED",
        "CANCELLED",
    ]
    log = (root / "work/worker").read_text(encoding="utf-8").splitlines()
    lines = [json.loads(line) for line in log if line.startswith("{")]
    first, second = (run_id for _, run_id in servers.rows(STATES)[:2])
    assert {line["run"] for line in lines} == {first, second}, log
    assert {line["run"] for line in lines if line.get("stage") == "base_model"} == {first}, log
    assert any("Worker" in line and "started" in line for line in log), "the worker's own is text"
