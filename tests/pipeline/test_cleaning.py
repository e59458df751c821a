"""`nadir clean` frees what nobody needs, and never what the registry or git names."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType
from tests.mini.project import MiniProject
from tests.mini.weights import add_version, cached, cached_weights
from typer.testing import CliRunner

from nadir.cli import app
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.ground.errors import NadirError
from nadir.ground.files import write_json
from nadir.pipeline.fingerprint import stage_fingerprint
from nadir.pipeline.processes.lock import workspace_lock
from nadir.pipeline.record import pipeline_folder
from nadir.pipeline.storage.cache import materialise
from nadir.pipeline.storage.cleaning import clean
from nadir.pipeline.storage.objects import cache_folder, object_path
from nadir.tracking.revision import save_experiment
from nadir.tracking.store.connection import connect, experiment_id
from nadir.training.text_states.key import states_key

ALL = ViewType.ALL


def named_by(project: MiniProject, place: str) -> str:
    """An object that only a tag, a branch, or an experiment names."""
    md5 = cached(project.root, place.encode())
    (project.root / "dvc.lock").rename(project.root / "kept.lock")
    lock = project.root / ("dvc.lock" if place != "branch" else "bärchen.dvc")
    lock.write_text(f"outs:\n- md5: {md5}\n  size: 1\n  path: x\n")
    if place == "experiment":
        save_experiment(project.root, "mine")
    else:
        project.git("switch", "-q", "--detach")
        project.git("add", lock.name)
        project.git("commit", "-q", "-m", place)
        project.git(place, "old-" + place)
        project.git("switch", "-q", "main")
    lock.unlink(missing_ok=True)
    (project.root / "kept.lock").rename(project.root / "dvc.lock")
    return md5


def abandon(project: MiniProject, name: str) -> Path:
    folder = project.root / "work/training" / name
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints/optimizer.pt").write_bytes(bytes(5000))
    return folder


@pytest.fixture
def client(trained: MiniProject) -> MlflowClient:
    return connect(trained.root)


def test_what_a_version_a_ref_or_the_workspace_names_stays_and_the_rest_goes(
    trained: MiniProject, client: MlflowClient
) -> None:
    root, cache = trained.root, cache_folder(trained.root)
    versions = [cached_weights(root, text) for text in ("champion", "old", "newest")]
    for md5 in versions:
        add_version(client, root, weights=md5)
    client.set_registered_model_alias("nadir", "champion", "1")
    refs = [named_by(trained, place) for place in ("tag", "branch", "experiment")]
    junk = cached_weights(root, "x" * 3000)
    list_bytes = object_path(junk, cache).stat().st_size
    gone = [abandon(trained, "a" * 64), root / "work/models" / junk.removesuffix(".dir")]
    materialise(junk, root)
    stays = [abandon(trained, stage_fingerprint("train", root)), abandon(trained, "b" * 64)]
    with (stays[1] / "launcher.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        plan = clean(root, dry_run=True)
        assert object_path(junk, cache).is_file()
        done = CliRunner().invoke(app, ["clean"], catch_exceptions=False)
    assert (plan.objects, plan.freed) == (2, 5000 + 3000 + list_bytes)
    assert "DVC's cache: 2 objects that nothing needs" in done.output
    assert "3 registered versions, among them nadir 1 (champion), nadir 3 (challenger)" in (
        done.output
    )
    assert "8.1 kB freed" in done.output
    assert not object_path(junk, cache).exists()
    assert not [path for path in gone if path.exists()]
    assert all(path.exists() for path in stays)
    for md5 in versions:
        assert (materialise(md5, root) / "nadir.json").is_file()
    assert all(object_path(md5, cache).is_file() for md5 in refs)
    assert "train" not in trained.dvc("status"), "every output of the workspace is there"


def evaluation(root: Path, protocol: str, md5: str, *, age: int = 0, size: int = 1000) -> Path:
    folder = root / "work/evaluations" / protocol / md5.removesuffix(".dir")
    folder.mkdir(parents=True)
    (folder / "evaluation.parquet").write_bytes(bytes(size))
    os.utime(folder, (10_000 - age, 10_000 - age))
    return folder


def test_evaluations_stay_that_a_version_is_judged_by_and_the_others_go(
    trained: MiniProject, client: MlflowClient
) -> None:
    root = trained.root
    champion, other = (cached_weights(root, text) for text in ("champion", "other"))
    for md5 in (champion, other):
        add_version(client, root, weights=md5)
    before = clean(root, dry_run=True)
    stays = [
        evaluation(root, "new", champion),
        evaluation(root, "new", other, age=2),
        # The champion is judged again by this one, if the other version is promoted.
        evaluation(root, "older", champion, age=5),
    ]
    beside = evaluation(root, "older", other)
    gone = [
        evaluation(root, "oldest", champion, age=9, size=300),
        evaluation(root, "new", "f" * 32, size=50),
    ]
    writing = root / "work/evaluations/new" / f".{'e' * 32}.xy.tmp"
    writing.mkdir()
    pages = {
        name: root / "work/judgements" / name for name in ("nadir-2-against-1", "nadir-9-against-1")
    }
    for page in pages.values():
        page.mkdir(parents=True)
        (page / "judgement.html").write_bytes(bytes(7))
    plan = clean(root, dry_run=True)
    assert plan.evaluations == sorted(gone)
    assert plan.judgements == [pages["nadir-9-against-1"]]
    assert plan.freed - before.freed == 300 + 50 + 7
    done = CliRunner().invoke(app, ["clean"], catch_exceptions=False)
    assert "work/evaluations/oldest/" in done.output
    assert ": no version is judged by it" in done.output
    assert all(path.is_dir() for path in (*stays, beside, writing, pages["nadir-2-against-1"]))
    assert not any(path.exists() for path in (*gone, gone[0].parent))
    assert not pages["nadir-9-against-1"].exists()


def test_tags_of_files_trees_and_tags_are_read_as_what_they_name(
    trained: MiniProject, client: MlflowClient
) -> None:
    (trained.root / "key").write_text("somebody's key")
    blob = trained.git("hash-object", "-w", "key")
    trained.git("tag", "-a", "-m", "x", "file", blob)
    trained.git("tag", "key", blob)
    kept = named_by(trained, "tag")
    for name, named in (("tree", "old-tag^{tree}"), ("again", "old-tag"), ("twice", "again")):
        trained.git("tag", "-a", "-m", "x", name, named)
    trained.git("tag", "-d", "old-tag", "again")
    assert clean(trained.root).objects == 0
    assert object_path(kept, cache_folder(trained.root)).is_file()


def test_nothing_is_removed_where_git_cannot_read_what_a_tag_names(
    trained: MiniProject, client: MlflowClient
) -> None:
    named_by(trained, "tag")
    commit = trained.git("rev-parse", "old-tag^{tree}")
    (trained.root / ".git/objects" / commit[:2] / commit[2:]).unlink()
    with pytest.raises(NadirError, match="git cannot tell what branches") as told:
        clean(trained.root)
    assert "nothing was removed" in told.value.fix


def test_nothing_is_removed_while_somebody_works_or_the_registry_is_away(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = trained.root
    junk = object_path(cached(root, b"junk"), cache_folder(root))
    with (
        workspace_lock(pipeline_folder(root) / "lock"),
        pytest.raises(NadirError, match="another pipeline"),
    ):
        clean(root)
    info = {"pid": os.getpid(), "cmd": "dvc repro"}
    write_json(root / ".dvc/tmp/rwlock", {"write": {"/x": info}, "read": {}})
    with pytest.raises(NadirError, match=r"`dvc repro` \(process \d+\) is running"):
        clean(root)
    (root / ".dvc/tmp/rwlock").unlink()
    run = root / ".dvc/tmp/exps/run/abc/abc.json"
    write_json(run, {"pid": os.getpid(), "returncode": None})
    with pytest.raises(NadirError, match="an experiment"):
        clean(root)
    run.unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(NadirError, match="MLflow"):
        clean(root)
    assert junk.is_file()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    (root / ".git/HEAD").write_text("broken")
    with pytest.raises(NadirError, match="git cannot tell"):
        clean(root)
    assert junk.is_file()


def test_a_registry_that_is_not_the_projects_is_noticed(
    trained: MiniProject, client: MlflowClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    root, md5 = trained.root, cached_weights(trained.root, "champion")
    add_version(client, root, weights=md5)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    clean(root)
    assert (materialise(md5, root) / "nadir.json").is_file(), "this clone's own store counts too"
    (root / "work/mlflow/mlflow.db").rename(tmp_path / "away.db")
    (root / "models/run.json").unlink()
    write_json(root / "models/run.json", {"run_id": "0" * 32})
    with pytest.raises(NadirError, match="does not know the training of models/checkpoint"):
        clean(root)


def test_a_cache_that_other_clones_share_keeps_what_they_name(
    trained: MiniProject, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    trained.dvc("config", "cache.dir", str(shared))
    (trained.root / ".dvc/cache").rename(shared)
    (shared / "files/md5/ab").mkdir(parents=True)
    theirs = shared / "files/md5/ab" / ("c" * 30)
    theirs.write_text("theirs")
    with pytest.raises(NadirError, match="outside of this clone"):
        clean(trained.root)
    other = tmp_path / "other"
    with pytest.raises(NadirError, match="not a clone"):
        clean(trained.root, projects=[other])
    other.mkdir()
    with pytest.raises(NadirError, match="not a clone"):
        clean(trained.root, projects=[trained.root, other])
    (other / "dvc.lock").write_text(f"stages:\n  a:\n    outs:\n    - md5: ab{'c' * 30}\n")
    clean(trained.root, projects=[other])
    assert theirs.is_file()
    clean(trained.root, projects=[trained.root])
    assert not theirs.exists()


def test_old_runs_go_with_their_artifacts_but_for_those_that_something_comes_from(
    trained: MiniProject, client: MlflowClient, tmp_path: Path
) -> None:
    experiment = experiment_id(client, trained.root)
    file = tmp_path / "encode.log"
    file.write_bytes(bytes(200_000))

    def ended(days_ago: float, parent: str = "") -> str:
        tags = {"mlflow.parentRunId": parent} if parent else {}
        run_id: str = client.create_run(experiment, tags=tags).info.run_id
        client.log_artifact(run_id, str(file))
        end_ms = int((time.time() - days_ago * 86400) * 1000)
        client.set_terminated(run_id, end_time=end_ms)
        return run_id

    add_version(client, trained.root)
    version = client.search_model_versions()[0].run_id
    pipeline = ended(60)
    client.set_tag(version, "mlflow.parentRunId", pipeline)
    restorable, pending = ended(60), ended(60)
    text = json.dumps({"run_id": restorable, "fingerprint": "a"})
    (trained.root / "mine.dvc").write_text(
        f"outs:\n- md5: {cached(trained.root, text.encode())}\n  size: 1\n  path: x\n"
    )
    (trained.root / "work/mlflow/unsent" / pending).mkdir(parents=True)
    running = client.create_run(experiment).info.run_id
    old, young = ended(40), ended(20)
    (folder,) = (trained.root / "work/mlflow/artifacts").glob(f"**/{old}")

    told = clean(trained.root, dry_run=True)
    assert told.runs.ids == (old,)
    assert told.freed >= 200_000
    assert folder.is_dir()
    assert clean(trained.root).freed >= 200_000
    assert not folder.exists()
    left = {run.info.run_id for run in client.search_runs([experiment], run_view_type=ALL)}
    assert left == {version, pipeline, restorable, pending, running, young}
    assert clean(trained.root, keep_days=10).runs.ids == (young,)


def test_text_states_that_the_present_parameters_do_not_use_go(trained: MiniProject) -> None:
    root, params = trained.root, trained.root / "params.yaml"
    known = params.read_text(encoding="utf-8")
    params.write_text(known.replace("text_cache: null", "text_cache: 2"), encoding="utf-8")
    for part in ("text_encoder", "tokenizer"):
        (root / "models/base" / part).mkdir(parents=True, exist_ok=True)
        (root / "models/base" / part / "file").write_bytes(part.encode())
    present = states_key(read_section("train", TrainParams, params), root / "models/base")
    for name in (present, "a" * 32):
        (root / "work/text_states" / name).mkdir(parents=True)
        (root / "work/text_states" / name / "b.safetensors").write_bytes(bytes(4000))
    folder = abandon(trained, "c" * 64)
    with (folder / "trainer.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert clean(root, dry_run=True).text_states == []  # a training may read them
    shutil.rmtree(folder)
    plan = clean(root, dry_run=True)
    assert (plan.text_states, plan.freed) == ([root / "work/text_states" / ("a" * 32)], 4000)
    done = CliRunner().invoke(app, ["clean"], catch_exceptions=False)
    assert f"work/text_states/{'a' * 32}: text states that no present" in done.output
    assert [path.name for path in (root / "work/text_states").iterdir()] == [present]
    params.write_text(known, encoding="utf-8")
    assert [path.name for path in clean(root).text_states] == [present]
