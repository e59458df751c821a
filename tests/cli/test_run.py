"""`nadir run`: what it makes of its options before anything runs."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.mini.project import MiniProject, project, trained
from tests.mini.weights import add_version

from nadir.cli.model.models import champion_uri
from nadir.cli.run import _make_sample_if_missing, _source_assignment, _write_params
from nadir.config.edit import read_params
from nadir.ground.errors import NadirError
from nadir.tracking.store.connection import connect

__all__ = ["project", "trained"]


@pytest.mark.parametrize("source", ["s3://bucket/a: b #1", "s3://bucket/it's", "s3://b/[x]"])
def test_a_source_is_kept_as_it_is_whatever_yaml_makes_of_it(
    project: MiniProject, source: str
) -> None:
    _write_params([_source_assignment(source)])
    assert read_params().ingest.source == source


def test_a_folder_inside_the_project_is_kept_relative(project: MiniProject) -> None:
    (project.root / "it's: mine").mkdir()
    _write_params([_source_assignment("it's: mine")])
    assert read_params().ingest.source == "it's: mine"


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_source_is_refused_rather_than_passed_over(
    project: MiniProject, empty: str
) -> None:
    with pytest.raises(NadirError, match="--data: the path is empty"):
        _source_assignment(empty)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("PREFECT_LOGGING_LEVEL", "banana", "Input should be 'DEBUG', 'INFO'"),
        ("PREFECT_PROFILES_PATH", "torn.toml", "Expected ']'"),
    ],
)
def test_a_setting_that_prefect_cannot_read_is_one_error(
    name: str, value: str, told: str, tmp_path: Path
) -> None:
    if value == "torn.toml":
        (tmp_path / value).write_text('active = "x"\n[profiles')
        value = str(tmp_path / value)
    # Read once in a process, while Prefect is imported.
    code = "from pathlib import Path; from nadir.cli.run import load_flow; load_flow(Path())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    last = done.stderr.splitlines()[-2:]
    assert last[0].startswith("nadir.ground.errors.NadirError: ")
    assert name in last[0]
    assert told in last[0]
    assert "correct or unset the variable" in last[1]


def test_the_champion_that_draws_is_of_the_model_params_yaml_names(project: MiniProject) -> None:
    project.set("model_name: nadir", "model_name: foxes")
    assert champion_uri() == "models:/foxes@champion"


def test_a_new_project_draws_the_sample_pictures(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.import_module("nadir.cli.run"), "SAMPLE_IMAGES", 3)
    _make_sample_if_missing()
    assert len(list((project.root / "data/sample").glob("*.txt"))) == 3
    assert "drawing 3 pictures" in capsys.readouterr().out
    _make_sample_if_missing()
    assert capsys.readouterr().out == ""


def _locked(project: MiniProject, monkeypatch: Any) -> str:
    shutil.rmtree(project.root / "data")
    return "there is dvc.lock"


def _locked_on_a_branch(project: MiniProject, monkeypatch: Any) -> str:
    for command in (["switch", "-qc", "other"], ["add", "dvc.lock"], ["commit", "-qm", "Trained"]):
        project.git(*command)
    commit = project.git("rev-parse", "HEAD")
    project.git("switch", "-q", "main")
    for name in ("data", "models"):
        shutil.rmtree(project.root / name)
    return f"commit {commit[:12]} has dvc.lock"


def _pulled(project: MiniProject, monkeypatch: Any) -> str:
    (project.root / "dvc.lock").unlink()
    return "there is models/run.json"


def _registered_elsewhere(project: MiniProject, monkeypatch: Any) -> str:
    """A clone that shares nothing but the registry."""
    store = f"sqlite:///{project.root.parent}/shared.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    add_version(connect(project.root), project.root)
    for name in ("data", "models"):
        shutil.rmtree(project.root / name)
    (project.root / "dvc.lock").unlink()
    return "the registry has version 1 of `nadir`"


@pytest.mark.parametrize("before", [_locked, _locked_on_a_branch, _pulled, _registered_elsewhere])
def test_where_there_were_pictures_before_missing_ones_are_told_and_none_are_drawn(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch, before: Any
) -> None:
    told = before(trained, monkeypatch)
    with pytest.raises(NadirError, match="the pictures are missing") as caught:
        _make_sample_if_missing()
    assert told in caught.value.what
    assert caught.value.where == f"{Path.cwd()}/data/sample (ingest.source)"
    assert "`nadir run --data PATH`" in caught.value.fix
    assert "`nadir sample-data data/sample` draws 2000" in caught.value.fix
    assert not (trained.root / "data/sample").exists()
