"""`nadir status` in words, and the pages that it and `nadir servers` name."""

from __future__ import annotations

import shutil
from typing import Any

import pytest
from tests.mini.project import MiniProject, trained
from tests.mini.weights import add_version, cached_weights

from nadir.cli.servers import servers
from nadir.cli.status import print_summary
from nadir.pipeline.status import read_status
from nadir.tracking.store.connection import connect

__all__ = ["trained"]


def summary(project: MiniProject, capsys: pytest.CaptureFixture[str], **changes: Any) -> str:
    print_summary({**read_status(project.root), **changes})
    return capsys.readouterr().out


def test_what_dvc_made_is_up_to_date_and_what_nobody_did_is_not_run(
    trained: MiniProject, capsys: pytest.CaptureFixture[str]
) -> None:
    (trained.root / "models/run.json").unlink()
    lines = {line.split()[0]: line for line in summary(trained, capsys).splitlines() if line}
    assert "up to date" in lines["encode"]
    assert "incomplete" in lines["train"]
    assert "not run" in lines["register"]
    assert "no version yet" in lines["model"]
    assert "nadir servers" in lines["the"]


def test_a_server_that_is_away_is_no_missing_version(
    trained: MiniProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    text = summary(trained, capsys)
    assert "no version yet" not in text
    assert "nadir: unknown, http://127.0.0.1:9: cannot open the MLflow store" in text
    (line,) = [line for line in text.splitlines() if line.startswith("register")]
    assert "unknown" in line


def test_a_failed_registration_is_told_with_its_reason(
    trained: MiniProject, capsys: pytest.CaptureFixture[str]
) -> None:
    stages = read_status(trained.root)["stages"]
    stages[-1] |= {"state": "failed", "error": "no [bold] disk", "up_to_date": False}
    assert "register: no [bold] disk" in summary(trained, capsys, stages=stages)


def test_a_gate_that_does_not_promote_says_why(
    trained: MiniProject, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = {"verdict": "inconclusive", "verdict_reason": "cannot be decided yet: brightness [x]"}
    text = summary(trained, capsys, **gate)
    assert "inconclusive, cannot be decided yet: brightness [x]; see the report" in text


def test_servers_that_run_already_are_named_and_not_started_again(
    trained: MiniProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://prefect.example:4200/api/")
    mlflow = {"uri": "http://mlflow.example:5000", "run_id": None}
    text = summary(trained, capsys, mlflow=mlflow)
    assert "http://prefect.example:4200 " in text, "the page, not the API"
    assert "http://mlflow.example:5000" in text
    assert "nadir servers" not in text
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.example:5000")
    servers()  # returns: there is nothing to wait for
    told = capsys.readouterr().out
    assert told == (
        "MLflow   http://mlflow.example:5000   (runs already)\n"
        "Prefect  http://prefect.example:4200   (runs already)\n"
    )


def test_a_path_stays_whole_on_eighty_columns_and_in_a_pipe(
    trained: MiniProject, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    stages = read_status(trained.root)["stages"]
    stages[0] |= {"outputs": ["data/bucket_quarantine.parquet", "models/base"], "duration_s": 7230}
    piped = summary(trained, capsys, stages=stages)
    monkeypatch.setenv("COLUMNS", "80")
    narrow = summary(trained, capsys, stages=stages)
    for text in (piped, narrow):
        assert "data/bucket_quarantine.parquet" in text
        assert "2.0 h" in text
    assert max(map(len, narrow.splitlines())) <= 80
    assert "last run" in piped


def test_a_champion_whose_weights_are_nowhere_is_found(
    trained: MiniProject, capsys: pytest.CaptureFixture[str]
) -> None:
    root, client = trained.root, connect(trained.root)
    add_version(client, root, weights=cached_weights(root, "live"))
    client.set_registered_model_alias("nadir", "champion", "1")
    champion = {"version": 1, "weights": "here"}
    assert read_status(root)["model"]["champion"] == champion
    assert "cannot be drawn with" not in summary(trained, capsys)
    trained.dvc("remote", "add", "-q", "-d", "shared", str(root.parent / "remote"))
    shutil.move(root / ".dvc/cache", root.parent / "remote")
    assert read_status(root)["model"]["champion"] == {**champion, "weights": "remote"}
    shutil.rmtree(root.parent / "remote")
    shutil.rmtree(root / ".dvc/cache")
    assert read_status(root)["model"]["champion"] == {**champion, "weights": "missing"}
    assert "the champion, version 1, cannot be drawn with" in summary(trained, capsys)
