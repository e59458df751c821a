"""A clone that was moved or copied keeps its own records: MLflow's absolute places follow it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pytest
from mlflow import MlflowClient
from tests.mini.project import MiniProject

from nadir.ground.errors import NadirError
from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.tracking.lock_file import read_lock
from nadir.tracking.registry.registration import register
from nadir.tracking.registry.versions import resolve_version
from nadir.tracking.runs.journal import Journal, catch_up, journals
from nadir.tracking.store.connection import connect, experiment_id, store_name


@pytest.fixture
def used(trained: MiniProject) -> MiniProject:
    """A clone with a registered version, whose evaluation and pointer lie in its artifacts."""
    register(trained.root, fingerprint=entry_fingerprint(read_lock(trained.root)["train"]))
    return trained


def files(root: Path) -> list[str]:
    folder = root / "work/mlflow/artifacts"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def mentions(root: Path, place: Path) -> list[str]:
    """Columns of the store that name a place."""
    found = []
    with sqlite3.connect(root / "work/mlflow/mlflow.db") as store:
        tables = [n for (n,) in store.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        for table in tables:
            for row in store.execute(f'SELECT * FROM "{table}"'):
                found += [table for cell in row if f"{place}/" in str(cell)]
    return found


def opens_and_writes(root: Path) -> None:
    """What was kept opens by run and by version, and a new run writes into this clone."""
    client = connect(root)
    version = resolve_version("models:/nadir/1", root)
    report = client.download_artifacts(version.run_id, "evaluation.json")
    assert "gate" in json.loads(Path(report).read_text())
    uri = client.get_model_version_download_uri("nadir", "1")
    folder = Path(url2pathname(urlsplit(uri).path))
    assert folder.is_relative_to(root)
    assert (folder / "MLmodel").is_file()
    before = len(files(root))
    run = client.create_run(experiment_id(client, root))
    client.log_text(run.info.run_id, "new", "note.txt")
    assert len(files(root)) == before + 1


@pytest.mark.parametrize("name", ["moved", "with space", "per%20cent", "é#1"])
def test_a_moved_clone_takes_its_records_along(
    used: MiniProject, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    target = used.root.with_name(name)
    used.root.rename(target)
    monkeypatch.chdir(target)
    opens_and_writes(target)
    assert not used.root.exists()
    assert mentions(target, used.root) == []


def test_a_copied_clone_leaves_the_other_alone(
    used: MiniProject, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    target = used.root.with_name("copy")
    shutil.copytree(used.root, target)
    before = files(used.root)
    monkeypatch.chdir(target)
    opens_and_writes(target)
    note = capsys.readouterr().err
    assert f"{used.root}/work/mlflow/artifacts" in note
    assert f"{target}/work/mlflow/artifacts" in note
    assert files(used.root) == before
    assert mentions(target, used.root) == []
    monkeypatch.chdir(used.root)
    opens_and_writes(used.root)
    assert mentions(used.root, target) == []
    assert "note:" not in capsys.readouterr().err, "said once, where it happened"


def test_a_clone_reached_by_a_link_is_the_same_place(
    used: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = used.root.with_name("link")
    link.symlink_to(used.root)
    monkeypatch.chdir(link)
    client = connect(link)
    location = client.get_experiment(experiment_id(client, link)).artifact_location
    assert location == (used.root / "work/mlflow/artifacts").as_uri()


def test_a_store_without_its_artifacts_is_refused_with_both_places(
    used: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = used.root.with_name("copy")
    shutil.copytree(used.root, target, ignore=shutil.ignore_patterns("artifacts"))
    monkeypatch.chdir(target)
    with pytest.raises(NadirError) as caught:
        connect(target)
    there, here = (root / "work/mlflow/artifacts" for root in (used.root, target))
    assert str(there) in str(caught.value)
    assert str(here) in str(caught.value)
    assert f"cp -r {there}/. {here}" in caught.value.fix
    shutil.copytree(there, here)
    opens_and_writes(target)


def test_a_backup_without_artifacts_is_refused_until_somebody_says_that_they_are_lost(
    used: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = used.root.with_name("restored")
    used.root.rename(target)
    shutil.rmtree(target / "work/mlflow/artifacts")
    monkeypatch.chdir(target)
    with pytest.raises(NadirError, match="make it an empty folder if they are lost"):
        connect(target)
    (target / "work/mlflow/artifacts").mkdir()
    assert resolve_version("models:/nadir/1", target).version == 1


def test_an_experiment_whose_place_a_user_chose_stays_there(
    used: MiniProject, tmp_path: Path
) -> None:
    client = connect(used.root)
    chosen = [tmp_path / "archive/artifacts", tmp_path / "runs"]
    for place in chosen:
        place.mkdir(parents=True)
    ids = [client.create_experiment(place.parent.name, place.as_uri()) for place in chosen]
    ids.append(client.create_experiment("bucket", "s3://bucket/mlflow/artifacts"))
    again: MlflowClient = connect(used.root)
    places = [again.get_experiment(number).artifact_location for number in ids]
    assert places == [*(place.as_uri() for place in chosen), "s3://bucket/mlflow/artifacts"]


def test_what_a_training_had_not_told_yet_is_told_from_the_new_place(
    used: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(used.root)
    run_id = client.create_run(experiment_id(client, used.root)).info.run_id
    monkeypatch.setenv("NADIR_TRAINING_RUN", run_id)
    folder = journals(used.root) / run_id
    journal = Journal(folder)
    journal.remember_store(store_name(used.root))
    journal.add({"kind": "metrics", "metrics": [["loss", 0.5, 1, 1]]})
    journal.close(remove=False)
    target = tmp_path / "moved"
    used.root.rename(target)
    monkeypatch.chdir(target)
    assert catch_up(target) == [run_id]
    assert connect(target).get_run(run_id).data.metrics == {"loss": 0.5}
