"""A run without news starts neither Prefect nor MLflow, and one with news loses nothing by that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mini.project import STAGES, MiniProject

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.pipeline.listing_first import Earlier, run_without_news
from nadir.pipeline.opening import open_session
from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.status import read_status
from nadir.tracking.registry.judgements import Judged
from nadir.tracking.registry.remembered import remembered
from nadir.tracking.store.connection import connect
from nadir.tracking.store.state import store_state

QUIET = """
import json, sys
from pathlib import Path
from nadir.pipeline.listing_first import Earlier, run_without_news
status = run_without_news(Path.cwd(), None, Earlier())
heavy = [name for name in ("mlflow", "prefect", "pandas", "torch", "scipy") if name in sys.modules]
print(json.dumps([status, heavy]))
"""


def register(project: MiniProject, judged: Judged | None = None) -> str:
    """A whole run; returns the version's number."""
    with open_session(project.root, until=None, flow_run_id="one", name="fox") as session:
        for stage in session.stages:
            session.run(stage)
        session.register()
        session.registering.judged = judged or session.registering.judged
        session.registering.share(lambda _line: None, git_fault_is_told=False)
    assert session.registration is not None
    return str(session.registration.version.version)


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever test came before may have named one."""
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE", "PREFECT_HOME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def registered(trained: MiniProject) -> MiniProject:
    """Trained without a tracker, then registered: the second run is the first without news."""
    assert register(trained) == "1"
    return trained


def again(project: MiniProject, until: str | None = None) -> tuple[object, Earlier]:
    earlier = Earlier()
    return run_without_news(project.root, until, earlier), earlier


def test_a_run_without_news_imports_neither_prefect_nor_mlflow(
    registered: MiniProject, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = read_status(registered.root)
    environment = {
        k: v for k, v in quiet_environment(registered.root).items() if k not in os.environ
    } | {k: v for k, v in os.environ.items() if not k.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", QUIET],
        cwd=registered.root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *told, last = done.stdout.splitlines()
    status, heavy = json.loads(last)
    assert heavy == []
    assert "register: already is nadir version 1 (challenger, champion)" in told
    assert any(line.startswith("judge: alone") for line in told)
    assert any(line.startswith("register: kept on this machine only") for line in told)
    assert status["model"] == expected["model"]
    assert {row["name"]: row["state"] for row in status["stages"]} == {
        **dict.fromkeys([*STAGES, "register"], "unchanged"),
        "ingest": "executed",
    }
    assert [row["up_to_date"] for row in status["stages"]] == [True] * 6
    assert read_json(registered.root / "work/pipeline/last.json")["status"] == "finished"


def test_other_data_is_listed_once_and_the_flow_goes_on_from_there(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained.source("other pictures")
    status, earlier = again(trained)
    assert status is None
    assert {name: result.state for name, result in earlier.results.items()} == {
        "ingest": "executed"
    }
    assert earlier.lines["ingest"] == ["ingest: 1 file"]
    log = trained.root / "work/logs/ingest.log"
    log.unlink()
    monkeypatch.setenv("NADIR_TRACKING", "none")
    with open_session(
        trained.root, until="encode", flow_run_id="two", name="fox", earlier=earlier.results
    ) as session:
        for stage in session.stages:
            if stage not in session.results:
                session.run(stage)
    assert not log.exists(), "the source was listed twice"
    assert {name: result.state for name, result in session.results.items()} == {
        "ingest": "executed",
        "encode": "executed",
    }


def test_other_parameters_or_code_go_to_the_flow_before_anything_is_listed(
    trained: MiniProject,
) -> None:
    (trained.root / "code.py").write_text("# other code\n", encoding="utf-8")
    status, earlier = again(trained)
    assert status is None
    assert not earlier.results


def test_what_is_due_is_not_passed_over(registered: MiniProject) -> None:
    root, client = registered.root, connect(registered.root)
    assert again(registered)[0] is not None

    registered.git("remote", "add", "origin", str(root.parent / "origin.git"))
    assert again(registered)[0] is None
    registered.git("remote", "remove", "origin")

    report = root / "reports/training.json"
    whole = report.read_bytes()
    report.write_text("{}", encoding="utf-8")
    assert again(registered)[0] is None
    report.write_bytes(whole)

    registered.set("brightness_error: 0.02\n", "brightness_error: 0.06\n")
    assert again(registered)[0] is None
    registered.set("brightness_error: 0.06\n", "brightness_error: 0.02\n")
    assert again(registered)[0] is not None

    client.delete_registered_model_alias("nadir", "champion")
    assert again(registered)[0] is None
    client.delete_model_version("nadir", "1")
    assert again(registered)[0] is None
    assert again(registered, until="encode")[0] is not None, "a part asks nothing of the registry"
    assert register(registered) == "2"


def test_what_may_be_otherwise_next_time_is_done_again(
    trained: MiniProject, tmp_path: Path
) -> None:
    """A page that is gone is written, a champion that could not be drawn may be there again."""
    root, page = trained.root, tmp_path / "judgement.html"
    lacking = Judged("inconclusive", "version 1 cannot be compared with: it is lost", 1)
    assert register(trained) == "1"
    connect(root).create_experiment("another")  # as whoever changes the champion writes, too
    assert register(trained, judged=lacking) == "1"
    assert again(trained)[0] is None
    register(trained, judged=Judged("inconclusive", "cannot be decided yet", 1, page))
    assert again(trained)[0] is None
    page.touch()
    assert again(trained)[0] is not None

    memory = root / "work/mlflow/remembered.json"
    text = memory.read_text(encoding="utf-8")
    memory.write_text(re.sub('"code": "[0-9a-f]+"', '"code": "0"', text), encoding="utf-8")
    assert again(trained)[0] is None, "other code may judge otherwise"


@pytest.mark.parametrize(
    "where", ["PREFECT_API_URL", "PREFECT_PROFILE", "prefect.toml", "pyproject.toml", "profiles"]
)
def test_a_prefect_server_of_the_users_own_gets_every_run(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    if where.isupper():
        monkeypatch.setenv(where, "x")
    elif where == "profiles":
        (trained.root / "work/prefect").mkdir(parents=True, exist_ok=True)
        (trained.root / "work/prefect/profiles.toml").write_text("", encoding="utf-8")
    else:
        table = "[tool.prefect.api]\n" if where == "pyproject.toml" else ""
        (trained.root / where).write_text(table, encoding="utf-8")
    status, earlier = again(trained)
    assert status is None
    assert not earlier.results


def test_a_source_that_cannot_be_listed_is_one_error(trained: MiniProject) -> None:
    (trained.root / "source.txt").unlink()
    with pytest.raises(NadirError, match="stage `ingest` failed"):
        again(trained)
    assert read_json(trained.root / "work/pipeline/last.json")["status"] == "failed"


def test_an_answer_is_remembered_until_the_store_is_written_to(trained: MiniProject) -> None:
    asked: list[int] = []

    def ask() -> int:
        asked.append(1)
        return len(asked)

    assert remembered(trained.root, "how many", ask) == 1
    assert remembered(trained.root, "how many", ask) == 1
    assert remembered(trained.root, "another question", ask) == 2
    before = store_state(trained.root)
    connect(trained.root).create_experiment("new")
    assert store_state(trained.root) != before
    assert remembered(trained.root, "how many", ask) == 3


def test_a_server_is_always_asked(trained: MiniProject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    answers = iter([1, 2])
    assert store_state(trained.root) is None
    assert remembered(trained.root, "q", lambda: next(answers)) == 1
    assert remembered(trained.root, "q", lambda: next(answers)) == 2


def test_a_damaged_memory_is_no_memory(trained: MiniProject) -> None:
    path = Path("work/mlflow/remembered.json")
    for text in ("", "[]", "{", '{"state": 1, "answers": 2}'):
        path.write_text(text, encoding="utf-8")
        assert remembered(trained.root, "q", lambda: 7) == 7
