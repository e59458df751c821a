"""A store that is away, slow or failing: what is said, how long it is waited for, what is kept."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from PIL import Image
from tests.mini.project import MiniProject
from tests.support.mlflow_server import Door, MlflowServer, quick_mlflow

from nadir.ground.errors import NadirError
from nadir.tracking.registry.registration import register
from nadir.tracking.runs import reporter
from nadir.tracking.runs.journal import catch_up, journals
from nadir.tracking.runs.reporter import MlflowReporter
from nadir.tracking.runs.training_run import RUN_VARIABLE, open_run
from nadir.tracking.store import patience
from nadir.tracking.store.connection import connect, is_transient


@pytest.fixture(scope="module")
def server() -> Iterator[MlflowServer]:
    with quick_mlflow() as made:
        yield made


@pytest.fixture
def door(
    server: MlflowServer, project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Door]:
    """The project's store is the server behind this door."""
    made = Door(server.port)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    monkeypatch.setattr(reporter, "_FLUSH_EVERY_S", 0.2)
    # MLflow's client asks as often as for anybody, and at once.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "0")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "0")
    monkeypatch.setattr(patience, "_AGAIN_AFTER_S", 0.1)
    patience._in_vain.clear()
    yield made
    made.shut()


@pytest.fixture
def client(server: MlflowServer) -> MlflowClient:
    return MlflowClient(server.uri)


@pytest.fixture
def run_id(door: Door, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    opened = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    monkeypatch.setenv(RUN_VARIABLE, opened)
    return opened


def losses(client: MlflowClient, run_id: str) -> list[int]:
    return [metric.step for metric in client.get_metric_history(run_id, "loss")]


def report(told: MlflowReporter, steps: range) -> float:
    """Tell of steps; returns the seconds that took."""
    start = time.monotonic()
    for step in steps:
        told.step(step, 32 * step, {"loss": 1.0 / step})
    return time.monotonic() - start


def until(condition: object, what: str) -> None:
    assert callable(condition)
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_server_that_is_stopped_and_started_costs_training_no_step_and_no_record(
    door: Door,
    run_id: str,
    server: MlflowServer,
    client: MlflowClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    told = MlflowReporter()
    told.started({"device": "cpu"})
    report(told, range(1, 11))
    until(lambda: len(losses(client, run_id)) == 10, "the first steps are sent at once")
    server.stop()
    assert report(told, range(11, 311)) < 5.0, "300 steps wait for no server"
    until(lambda: "training goes on" in capsys.readouterr().out, "the outage is told")
    told.preview(310, "1girl, red_hair", Image.new("RGB", (8, 8), (200, 0, 0)))
    (tmp_path / "note.txt").write_text("kept", encoding="utf-8")
    told.artifact(tmp_path / "note.txt")
    server.start()
    report(told, range(311, 321))
    told.finished("FINISHED")
    assert losses(client, run_id) == list(range(1, 321))
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert {"note.txt", "images"} <= {file.path for file in client.list_artifacts(run_id)}
    assert not list(journals(Path.cwd()).glob("*"))


TRAINING = """
import os, sys
from nadir.tracking.runs import reporter
reporter._PATIENCE_S["FINISHED"] = 1.0
told = reporter.MlflowReporter()
for step in range(1, 21):
    told.step(step, step, {"loss": 1.0})
if sys.argv[1] == "ends":
    told.finished("FINISHED")
os._exit(9)
"""


def train_elsewhere(how: str) -> None:
    """A training of 20 steps in a process of its own, which `ends` or is `killed`."""
    command = [sys.executable, "-c", TRAINING, how]
    assert subprocess.run(command, env=dict(os.environ), check=False).returncode == 9


@pytest.mark.parametrize("away", ["shut", "swallow", "fail"])
def test_what_a_training_could_not_tell_the_next_run_tells(
    away: str, door: Door, run_id: str, client: MlflowClient
) -> None:
    door.fail(500) if away == "fail" else getattr(door, away)()
    train_elsewhere("ends")
    assert client.get_run(run_id).info.status == "RUNNING"
    assert losses(client, run_id) == []
    door.open()
    assert catch_up(Path.cwd()) == [run_id]
    assert losses(client, run_id) == list(range(1, 21))
    assert client.get_run(run_id).info.status == "FINISHED"
    assert catch_up(Path.cwd()) == []


def test_a_training_killed_during_an_outage_sends_its_records_when_it_goes_on(
    door: Door, run_id: str, client: MlflowClient
) -> None:
    door.shut()
    train_elsewhere("killed")
    assert losses(client, run_id) == []
    door.open()
    again = MlflowReporter()
    report(again, range(21, 31))
    again.finished("FINISHED")
    assert losses(client, run_id) == list(range(1, 31))


def test_a_training_that_runs_keeps_its_records_to_itself(door: Door, run_id: str) -> None:
    door.shut()
    told = MlflowReporter()
    report(told, range(1, 5))
    assert catch_up(Path.cwd()) == []
    door.open()
    told.finished("KILLED")


def test_a_record_that_mlflow_never_takes_holds_up_no_other(
    door: Door, run_id: str, client: MlflowClient
) -> None:
    told = MlflowReporter()
    told.step(1, 1, {"no such name: \n": 1.0})
    time.sleep(0.5)
    report(told, range(2, 5))
    told.finished("FINISHED")
    assert losses(client, run_id) == [2, 3, 4]
    assert client.get_run(run_id).info.status == "FINISHED"


def test_a_run_that_failed_before_its_training_ended_well_does_not_stay_failed(
    trained: MiniProject,
) -> None:
    store = connect(trained.root)
    first = register(trained.root, fingerprint="f" * 64)
    store.set_terminated(first.version.run_id, "FAILED")
    register(trained.root, fingerprint="f" * 64)
    assert store.get_run(first.version.run_id).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("shut", "why", "fix"),
    [
        (lambda door: door.shut(), "the server does not answer (", "start it"),
        (lambda door: door.swallow(), "the server does not answer (", "start it"),
        (lambda door: door.fail(503), "the server does not answer (HTTP 503", "start it"),
        (lambda door: door.fail(500), "is up but answers with errors (HTTP 500)", "server's log"),
        (lambda door: door.fail(429), "is up but answers with errors (HTTP 429)", "server's log"),
        (lambda door: door.fail(200, "<html>Log in</html>"), "is not an MLflow server", "correct"),
        (lambda door: door.fail(302), "is not an MLflow server", "correct MLFLOW_TRACKING_URI"),
        (lambda door: door.fail(401), "the server refuses this login", "MLFLOW_TRACKING_USERNAME"),
        (lambda door: door.fail(403), "the server refuses this login", "MLFLOW_TRACKING_USERNAME"),
        (lambda door: door.fail(403, "Invalid Host header"), "by this name", "--allowed-hosts"),
    ],
)
def test_the_error_says_what_is_wrong_with_the_store(
    shut: object, why: str, fix: str, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    assert callable(shut)
    shut(door)
    with pytest.raises(NadirError) as caught:
        connect(patience_s=0)
    assert why in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.where == door.uri
    assert is_transient(caught.value) is (fix in {"start it", "server's log"})


def test_a_store_that_is_away_is_named_while_it_is_waited_for_and_not_waited_for_twice(
    door: Door, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "TELL_AFTER_S", 0.2)
    door.shut()
    with pytest.raises(NadirError, match="does not answer"):
        connect(patience_s=2.0)
    told = capsys.readouterr().err
    assert told.count(f"waiting for the MLflow store at {door.uri}") == 1
    start = time.monotonic()
    with pytest.raises(NadirError, match="does not answer"):
        connect(patience_s=600.0)
    assert time.monotonic() - start < 60.0
    door.open()
    connect(patience_s=0)


def test_a_server_that_comes_back_in_time_is_waited_for(
    door: Door, server: MlflowServer, client: MlflowClient, tmp_path: Path
) -> None:
    door.shut()
    threading.Timer(1.0, door.open).start()
    opened = open_run(tmp_path, "f" * 64)[RUN_VARIABLE]
    assert client.get_run(opened).info.status == "RUNNING"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://user:pa@ss@host:5000/x", "http://host:5000/x"),
        ("postgresql://u:p@db/mlflow", "postgresql://db/mlflow"),
        ("http://host:5000", "http://host:5000"),
        ("sqlite:////a/b@c/mlflow.db", "sqlite:////a/b@c/mlflow.db"),
    ],
)
def test_a_line_about_waiting_names_no_login(uri: str, shown: str) -> None:
    assert patience.without_login(uri) == shown


def test_every_wait_is_bounded_and_a_setting_of_the_environment_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in patience._LIMITS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "600")
    patience.bound_waits()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "2"
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "600"
    assert patience.PATIENCE_S <= 60.0


def test_a_store_on_this_disk_is_never_called_away_while_work_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(patience, "TELL_AFTER_S", 0.01)
    told, deadline = "", time.monotonic() + 60
    with patience.told_when_slow(lambda: "sqlite:////data/mlflow.db"):
        while not told.endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.01)
            told += capsys.readouterr().err
    assert told == "at work with the MLflow store at sqlite:////data/mlflow.db: 0 s so far\n"
