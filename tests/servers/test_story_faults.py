"""One server of the stack is killed, away or slow, while a run trains and while a model is made.

Each is away for some seconds, its port refusing calls, and is started again by the stack itself.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from prefect.client.orchestration import get_client
from tests.support.mlflow_server import Door
from tests.support.stack import RunningStack
from tests.support.story import states, under_way

from nadir.ground.errors import NadirError
from nadir.tracking.registry.registration import Registration, register
from nadir.tracking.store import patience

pytestmark = [pytest.mark.servers, pytest.mark.story]

AWAY_S = 4.0
# Seconds: what one command waits for at most, its calls, their repetitions and its patience.
BOUND_S = 240.0


@pytest.fixture(scope="module", autouse=True)
def idle(stack: RunningStack) -> None:
    """Nothing runs by itself any more."""
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("training-pipeline/nightly")
        for schedule in nightly.schedules:
            client.update_deployment_schedule(nightly.id, schedule.id, active=False)
    stack.until(lambda: not under_way(stack), "nothing runs")


def test_a_run_outlives_the_end_of_each_server_and_loses_nothing(stack: RunningStack) -> None:
    stack.project.source("held pictures")
    before = states(stack).count("COMPLETED")
    log = stack.project.root / "work/logs/train.log"
    log.unlink(missing_ok=True)
    with get_client(sync_client=True) as client:
        nightly = client.read_deployment_by_name("training-pipeline/nightly")
        client.create_flow_run_from_deployment(nightly.id, parameters={"until": "evaluate"})
    journals = stack.project.root / "work/mlflow/unsent"
    stack.until(lambda: any(journals.glob("*")), "it trains")
    for service in ("postgres", "s3", "mlflow"):
        with stack.away(service):
            time.sleep(AWAY_S)
        time.sleep(1.0)
    (stack.project.root / "work/go").touch()
    stack.until(lambda: states(stack).count("COMPLETED") > before, "the same run ends well")
    run_id = json.loads(Path("models/run.json").read_text())["run_id"]
    steps = json.loads(Path("reports/training.json").read_text())["steps"]
    assert steps > 10 * 3 * AWAY_S / 2, "it went on meanwhile"
    told = MlflowClient().get_metric_history(run_id, "loss")
    assert sorted({metric.step for metric in told}) == list(range(1, steps + 1))
    kept = {file.path for file in MlflowClient().list_artifacts(run_id)}
    assert kept >= {f"note-{step}.txt" for step in range(20, steps + 1, 20)}
    assert MlflowClient().get_run(run_id).info.status == "FINISHED"
    assert not any(journals.glob("*"))


class Attempt(threading.Thread):
    """A registration of the present checkpoint, as a training of this number's."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.fingerprint = f"{number:064x}"
        self.done: Registration | None = None
        self.refused = ""
        self.unclear: BaseException | None = None
        self.took_s = 0.0
        self.start()

    def run(self) -> None:
        begun = time.monotonic()
        try:
            self.done = register(Path.cwd(), fingerprint=self.fingerprint)
        except NadirError as error:
            self.refused = str(error)
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.unclear = error
        self.took_s = time.monotonic() - begun


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[str]:
    """A model of the test's own, which has no version yet."""
    patience._in_vain.clear()
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    name, params = f"model-{abs(hash(request.node.name))}", Path("params.yaml")
    text = params.read_text(encoding="utf-8")
    params.write_text(text.replace("model_name: nadir", f"model_name: {name}"), encoding="utf-8")
    yield name
    params.write_text(text, encoding="utf-8")


def begun(stack: RunningStack, model: str) -> Attempt:
    """A registration that holds the model's lock."""
    made = Attempt(abs(hash(model)))
    query = f"select version from model_versions where name = '{model}.lock'"
    stack.until(lambda: stack.rows("mlflow", query) or not made.is_alive(), "it is at work")
    return made


def require_whole(stack: RunningStack, model: str, attempt: Attempt) -> None:
    """It ended, in one of the two ways; the same command then leaves what it always leaves."""
    attempt.join(BOUND_S)
    assert not attempt.is_alive(), "it hangs"
    assert attempt.unclear is None
    assert attempt.done or attempt.refused.count("fix:") == 1
    logging.getLogger(__name__).info("%.0f s: %s", attempt.took_s, attempt.refused or "registered")
    patience._in_vain.clear()
    again = register(Path.cwd(), fingerprint=attempt.fingerprint)
    assert not (attempt.done and again.created), "what was registered is found again"
    query = f"select version, status from model_versions where name = '{model}'"
    assert stack.rows("mlflow", query) == [(1, "READY")]
    query = f"select alias, version from registered_model_aliases where name = '{model}'"
    assert dict(stack.rows("mlflow", query)) == {"challenger": 1, "champion": 1}
    assert not MlflowClient().search_model_versions(f"name = '{model}.lock'"), "no lock is left"


@pytest.mark.parametrize("service", ["postgres", "s3", "mlflow"])
def test_a_registration_that_a_server_leaves_ends_clearly_and_is_completed(
    service: str, stack: RunningStack, model: str
) -> None:
    attempt = begun(stack, model)
    with stack.away(service):
        time.sleep(AWAY_S)
    require_whole(stack, model, attempt)


def test_a_store_that_is_slow_is_waited_for_so_long_and_no_longer(
    stack: RunningStack, model: str, door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "4")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    door.slow(20_000)
    with contextlib.closing(DoorOpens(door)):
        attempt = begun(stack, model)
        attempt.join(BOUND_S)
        assert attempt.refused, attempt.unclear
    require_whole(stack, model, attempt)


class DoorOpens:
    """Opens a door when the block is left."""

    def __init__(self, door: Door) -> None:
        self.close = door.open
