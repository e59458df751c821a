"""The flow: Prefect's record of a run, its failures, and its end when it is told to stop."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import importlib.util
import io
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest
from PIL import Image
from prefect.client.orchestration import get_client
from prefect.testing.utilities import prefect_test_harness
from tests.mini.project import REPOSITORY, STAGES, MiniProject
from tests.mini.weights import add_version

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.pipeline.page_image import data_uri
from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.processes.running import is_held
from nadir.pipeline.storage.old_flow_runs import remove_old_flow_runs
from nadir.tracking.registry.move_log import read_log
from nadir.tracking.store.connection import connect

FLOWS = REPOSITORY / "flows"


@pytest.fixture(scope="module")
def server() -> Iterator[None]:
    """A Prefect server with a database of its own."""
    with prefect_test_harness(server_startup_timeout=300):
        yield


@pytest.fixture
def flow(server: None, trained: MiniProject, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    return load("training_pipeline")


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FLOWS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def flow_runs() -> list[Any]:
    async def read() -> list[Any]:
        async with get_client() as client:
            return list(await client.read_flow_runs())

    return sorted(asyncio.run(read()), key=lambda run: run.expected_start_time, reverse=True)


def task_runs(flow_run: Any) -> dict[str, Any]:
    async def read() -> list[Any]:
        async with get_client() as client:
            return list(await client.read_task_runs())

    return {r.name: r for r in asyncio.run(read()) if r.flow_run_id == flow_run.id}


def artifacts(flow_run: Any) -> dict[str, Any]:
    async def read() -> list[Any]:
        async with get_client() as client:
            return list(await client.read_artifacts())

    return {a.key: a for a in asyncio.run(read()) if a.flow_run_id == flow_run.id}


def test_every_stage_is_a_task_and_the_results_are_artifacts(
    flow: ModuleType, trained: MiniProject, capsys: pytest.CaptureFixture[str]
) -> None:
    trained.source("other pictures")
    status = flow.run_pipeline()
    assert status["model"]["version"] == 1
    (latest, *_) = flow_runs()
    assert latest.state_name == "Completed"
    tasks = task_runs(latest)
    assert set(tasks) == {*STAGES, "register"}
    assert {task.state_name for task in tasks.values()} == {"Completed"}
    found = artifacts(latest)
    assert {"stages", "results", "samples", "encode"} <= set(found)
    assert found["samples"].data.startswith("data:image/png;base64,")
    assert found["encode"].data == 100.0
    text = capsys.readouterr().out
    assert "encode: 3/3 files" in text
    assert "register: registered nadir version 1 (challenger, champion)" in text
    assert "Beginning flow run" not in text
    promotion = load("promotion").promotion
    assert promotion() == 1
    with pytest.raises(NadirError, match="no previous champion"):
        promotion(go_back=True)
    client = connect(trained.root)
    add_version(client, trained.root)
    assert promotion(version=2, force_reason="its colours") == 2
    forced, first = read_log(client, "nadir").moves
    assert (first.how, first.flow_run) == ("first", str(latest.id))
    assert (forced.how, forced.reason) == ("forced", "its colours")
    assert forced.flow_run == str(flow_runs()[0].id)


def test_a_broken_stage_fails_its_task_and_the_flow_says_which(
    flow: ModuleType, trained: MiniProject
) -> None:
    trained.source("broken")
    with pytest.raises(NadirError, match="stage `encode` failed"):
        flow.run_pipeline()
    (latest, *_) = flow_runs()
    assert latest.state_name == "Failed"
    assert "stage `encode` failed: data/listing.txt: the listing is broken" in latest.state.message
    tasks = task_runs(latest)
    assert tasks["encode"].state_name == "Failed"
    assert set(tasks) == {"ingest", "encode"}


def test_a_wrong_until_is_told_before_a_flow_starts(flow: ModuleType) -> None:
    before = len(flow_runs())
    with pytest.raises(NadirError, match="did you mean train"):
        flow.run_pipeline(until="trian")
    assert len(flow_runs()) == before


def test_a_page_that_cannot_be_written_fails_no_pipeline(
    flow: ModuleType, trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_arguments: Any, **_named: Any) -> None:
        raise RuntimeError("the server hiccups")

    monkeypatch.setattr(flow, "create_table_artifact", away)
    assert flow.run_pipeline(until="ingest")["stages"][0]["state"] == "executed"
    assert flow_runs()[0].state_name == "Completed"


def test_a_large_picture_is_shrunk_for_the_page_and_a_small_one_is_sent_as_it_is(
    tmp_path: Path,
) -> None:
    path = tmp_path / "grid.png"
    Image.effect_noise((300, 200), 90).save(path)
    assert base64.b64decode(data_uri(path).split(",")[1]) == path.read_bytes()
    head, text = data_uri(path, largest_bytes=12_000).split(",")
    assert head == "data:image/jpeg;base64"
    data = base64.b64decode(text)
    assert len(data) <= 12_000
    assert Image.open(io.BytesIO(data)).size[0] > 80


def run_flow(project: MiniProject, **variables: str) -> subprocess.CompletedProcess[str]:
    """The flow's file as a program of its own, without this module's server."""
    (project.root / "flows").mkdir()
    shutil.copy(FLOWS / "training_pipeline.py", project.root / "flows")
    return subprocess.run(
        [sys.executable, "flows/training_pipeline.py"],
        cwd=project.root,
        env={**quiet_environment(project.root), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_server_that_is_away_is_named_with_what_to_do(project: MiniProject) -> None:
    done = run_flow(project, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert done.returncode == 1
    told = "error: http://127.0.0.1:9/api: the Prefect server cannot be reached\n  fix: start it"
    assert told in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("status", "told", "fix"),
    [
        (500, "the Prefect server fails (500)", "see its log"),
        (401, "the Prefect server refuses the login (401)", "set PREFECT_API_AUTH_STRING"),
    ],
)
def test_a_server_that_fails_or_refuses_is_named_with_what_to_do(
    project: MiniProject, status: int, told: str, fix: str
) -> None:
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_POST = do_GET

    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/api"
        done = run_flow(project, PREFECT_API_URL=url)
        server.shutdown()
    assert done.returncode == 1
    assert f"error: {url}: {told}\n  fix: {fix}" in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_sigterm_stops_the_stage_saves_and_leaves_no_process(project: MiniProject) -> None:
    """With the temporary server, as `nadir run` has it."""
    (project.root / "flows").mkdir()
    shutil.copy(FLOWS / "training_pipeline.py", project.root / "flows")
    project.source("slow")
    environment = {
        k: v for k, v in quiet_environment(project.root).items() if k != "PREFECT_API_URL"
    }
    child = subprocess.Popen(
        [sys.executable, "flows/training_pipeline.py"],
        cwd=project.root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert child.stdout is not None
    said = []
    for line in child.stdout:
        said.append(line)
        if "train: waiting" in line:
            break
    assert "train: waiting" in said[-1], "it ended by itself:\n" + "".join(said)
    started = [process.pid for process in psutil.Process(child.pid).children(recursive=True)]
    child.send_signal(signal.SIGTERM)
    rest, _ = child.communicate(timeout=120)
    assert child.returncode != 0
    # On a busy machine the stage may outlive the flow while it saves.
    deadline = time.monotonic() + 120
    while is_held(project.root) and time.monotonic() < deadline:
        time.sleep(0.2)
    kept = list((project.root / "work/training").glob("*/saved"))
    log = (project.root / "work/logs/train.log").read_text(encoding="utf-8")
    assert kept, f"nothing was saved:\n{''.join(said)}{rest}\ntrain.log:\n{log}"
    (saved,) = kept
    assert saved.read_text() == "yes"
    assert read_json(project.root / "work/pipeline/last.json")["status"] == "killed"
    deadline = time.monotonic() + 60
    while any(psutil.pid_exists(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not [pid for pid in started if psutil.pid_exists(pid)]
    database = Path(environment["PREFECT_HOME"]) / "prefect.db"
    now = dt.datetime.now(dt.UTC)
    assert remove_old_flow_runs(database, now - dt.timedelta(hours=1), dry_run=False) == (0, 0)
    assert remove_old_flow_runs(database, now, dry_run=True) == (1, 0)
    runs, freed = remove_old_flow_runs(database, now, dry_run=False)
    assert runs == 1
    assert freed > 0
    with contextlib.closing(sqlite3.connect(database)) as opened:
        for table in ("flow_run", "task_run", "flow_run_state", "log", "artifact", "events"):
            assert opened.execute(f"select count(*) from {table}").fetchall() == [(0,)], table
        assert opened.execute("select name from flow").fetchall() == [("training-pipeline",)]
