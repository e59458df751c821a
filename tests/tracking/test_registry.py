"""A checkpoint gets one version, whose aliases move by rule and whose weights are found by hash."""

from __future__ import annotations

import concurrent.futures
import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from tests.mini.project import MiniProject

from nadir.evaluation.report.lineage import REGISTRATION
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.pipeline.promotion import promote
from nadir.pipeline.storage.cache import materialise, resolve_model
from nadir.tracking.lock_file import output_hashes, read_lock
from nadir.tracking.registry import registration
from nadir.tracking.registry.registration import Registration, register
from nadir.tracking.registry.versions import alias_table, resolve_version
from nadir.tracking.store.connection import connect, is_transient


def registered(project: MiniProject) -> Registration:
    return register(project.root, fingerprint=entry_fingerprint(read_lock(project.root)["train"]))


def verdict(project: MiniProject, word: str) -> None:
    path = project.root / "reports/evaluation.json"
    report = read_json(path)
    path.unlink()
    write_json(path, {**report, "gate": {**report["gate"], "verdict": word}})


def test_the_first_version_that_passes_the_gate_is_challenger_and_champion(
    project: MiniProject,
) -> None:
    project.dvc("repro")
    done = registered(project)
    assert done.created
    assert done.published
    assert done.version.version == 1
    assert done.version.aliases == ("challenger", "champion")
    client = connect(project.root)
    version = client.get_model_version("nadir", "1")
    run = client.get_run(done.version.run_id)
    assert run.info.run_id == read_json(project.root / "models/run.json")["run_id"]
    for key in (
        "git.commit", "git.dirty", "dvc.exp_rev", "dvc.lock_sha256", "dvc.stage_fingerprint",
        "params.sha256", "data.md5", "out.md5",
    ):  # fmt: skip
        assert version.tags[key], key
        assert version.tags[key] == run.data.tags[key], key
    assert version.tags["out.md5"] == output_hashes(read_lock(project.root))["models/checkpoint"]
    saved_lock = project.git("show", f"{version.tags['dvc.exp_rev']}:dvc.lock")
    assert version.tags["out.md5"] in saved_lock


def test_the_evaluation_is_on_the_run_that_trained(trained: MiniProject) -> None:
    run_id = registered(trained).version.run_id
    client = connect(trained.root)
    metrics = client.get_run(run_id).data.metrics
    report = read_json(trained.root / "reports/evaluation.json")
    assert metrics["cfg_4.5.contrast"] == report["cfg_scales"]["4.5"]["contrast"]
    scales = report["cfg_scales"]
    points = client.get_metric_history(run_id, "by_cfg.contrast")
    assert {point.step: point.value for point in points} == {
        round(100 * float(scale)): numbers["contrast"] for scale, numbers in scales.items()
    }, "CFG, in hundredths, is the axis"
    names = {file.path for file in client.list_artifacts(run_id)}
    assert {"evaluation.html", "samples"} <= names
    assert not registered(trained).published, "once per evaluation"


def test_the_page_on_the_run_names_version_commit_parameters_and_data(
    trained: MiniProject, tmp_path: Path
) -> None:
    """The project's own page is DVC's, and stays as the stage wrote it."""
    page = trained.root / "reports/evaluation.html"
    page.unlink()
    page.write_text(f"<table>{REGISTRATION}</table>")
    done = registered(trained)
    client = connect(trained.root)
    text = Path(
        client.download_artifacts(done.version.run_id, page.name, str(tmp_path))
    ).read_text()
    tags = done.version.tags
    for found in (
        f"{done.version.name} {done.version.version}",
        done.version.run_id,
        f"commit {tags['git.commit']}",
        tags["params.sha256"],
        tags["data.md5"],
        tags["dvc.stage_fingerprint"],
        "params.yaml train",
    ):
        assert found in text
    assert page.read_text() == f"<table>{REGISTRATION}</table>"


def test_a_kill_before_the_page_is_on_the_run_publishes_all_of_it_next_time(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(registration, "publish_page", _killed)
        with pytest.raises(KeyboardInterrupt):
            registered(trained)
    done = registered(trained)
    assert not done.created, "the version was there"
    assert done.published
    names = {file.path for file in connect(trained.root).list_artifacts(done.version.run_id)}
    assert "evaluation.html" in names
    assert not registered(trained).published


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_another_verdict_on_the_same_pictures_replaces_the_one_on_the_run(
    trained: MiniProject,
) -> None:
    run_id = registered(trained).version.run_id
    path = trained.root / "reports/evaluation.json"
    report = read_json(path)
    report["gate"]["verdict"] = "reject"
    write_json(path, report)
    assert registered(trained).published
    assert connect(trained.root).get_run(run_id).data.tags["nadir.gate"] == "reject"


def test_what_the_gate_said_of_the_dataset_is_on_the_run_too(trained: MiniProject) -> None:
    found = {
        "images": {"used": 7, "listed": 9},
        "shares": {"usable_share": 0.78},
        "expectations": {"passed": 3, "warnings": 2, "critical": 0},
    }
    write_json(trained.root / "reports/validation.json", found)
    (trained.root / "reports/validation.html").write_text("<p>page</p>")
    write_json(trained.root / "data/profile.json", {"images": 7})
    run_id = registered(trained).version.run_id
    client = connect(trained.root)
    metrics = client.get_run(run_id).data.metrics
    assert metrics["validation.used"] == 7
    assert metrics["validation.usable_share"] == 0.78
    assert (metrics["validation.warnings"], metrics["validation.critical"]) == (2, 0)
    names = {file.path for file in client.list_artifacts(run_id)}
    assert {"validation.html", "validation.json", "profile.json"} <= names


def test_registering_again_makes_nothing_and_moves_nothing(trained: MiniProject) -> None:
    registered(trained)
    client = connect(trained.root)
    client.set_registered_model_alias("nadir", "mine", "1")
    before = alias_table(client, "nadir")
    again = registered(trained)
    assert not again.created
    assert again.version.version == 1
    assert alias_table(client, "nadir") == before


def test_four_at_once_make_one_version(trained: MiniProject) -> None:
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        done = [pool.submit(registered, trained) for _ in range(4)]
        versions = {future.result().version.version for future in done}
    assert versions == {1}
    assert len(connect(trained.root).search_model_versions("name = 'nadir'")) == 1


@pytest.mark.parametrize("call", ["set_registered_model_alias", "delete_model_version_tag"])
def test_a_registration_that_is_killed_before_its_aliases_is_completed_by_the_next(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(MlflowClient, call, killed)
        registered(trained)
    assert len(connect(trained.root).search_model_versions("name = 'nadir'")) == 1
    done = registered(trained)
    assert not done.created
    assert (done.version.version, done.version.aliases) == (1, ("challenger", "champion"))
    promote(trained.root, version=1)
    assert registered(trained).version.aliases == ("champion",), "offered once"


def test_a_store_that_goes_away_during_a_registration_is_one_clear_error_and_retried(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_arguments: object, **_named: object) -> None:
        raise MlflowException("API request failed\ndetails") from ConnectionRefusedError("refused")

    monkeypatch.setattr(MlflowClient, "create_model_version", gone)
    with pytest.raises(NadirError, match="the MLflow store failed: API request failed") as caught:
        registered(trained)
    assert caught.value.where.startswith("sqlite:///")
    assert "then run the same command again" in caught.value.fix
    assert is_transient(caught.value)


def test_a_version_names_the_locked_dependencies_and_no_package_that_no_index_has(
    trained: MiniProject, root: Path
) -> None:
    shutil.copy(root / "requirements.lock", trained.root)
    registered(trained)
    uri = connect(trained.root).get_model_version_download_uri("nadir", "1")
    lines = Path(uri.removeprefix("file://"), "requirements.txt").read_text().splitlines()
    assert "nadir" not in lines
    assert any(line.startswith("torch==") for line in lines)


def test_a_rejected_first_version_is_challenger_only(trained: MiniProject) -> None:
    verdict(trained, "reject")
    assert registered(trained).version.aliases == ("challenger",)


def test_a_second_checkpoint_challenges_and_the_old_one_is_found_again(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    first = registered(trained)
    trained.source("other pictures")
    trained.dvc("repro")
    second = registered(trained)
    assert (second.version.version, second.version.aliases) == (2, ("challenger",))
    assert second.version.run_id != first.version.run_id
    trained.source("pictures")
    trained.dvc("repro")
    back = registered(trained)
    assert not back.created
    assert back.version.version == 1
    assert back.version.run_id == first.version.run_id
    assert back.version.aliases == ("champion",)
    check_old_and_new_folders(trained, second.version.md5)


def check_old_and_new_folders(project: MiniProject, second_md5: str) -> None:
    """Continues the test above, whose two trainings take most of its time."""
    current = resolve_model("models:/nadir@champion", project.root)
    assert current == project.root / "models/checkpoint"
    other = resolve_model("models:/nadir/2", project.root)
    assert other == project.root / "work/models" / second_md5.removesuffix(".dir")
    assert read_json(other / "nadir.json") != read_json(current / "nadir.json")
    remote = project.root / "work/remote"
    project.dvc("remote", "add", "-d", "local", str(remote))
    project.dvc("push", "--run-cache")
    project.dvc("checkout")
    shutil.rmtree(project.root / "models/checkpoint")
    shutil.rmtree(project.root / ".dvc/cache")
    text = (project.root / "dvc.lock").read_text(encoding="utf-8")
    md5 = output_hashes(read_lock(project.root))["models/checkpoint"]
    (project.root / "dvc.lock").write_text(text.replace(md5, "0" * 32 + ".dir"), encoding="utf-8")
    fetched = materialise(md5, project.root)
    assert (fetched / "nadir.json").is_file(), "fetched from DVC's remote"


def test_weights_that_were_published_but_not_yet_locked_are_not_taken_for_the_champions(
    trained: MiniProject,
) -> None:
    registered(trained)
    checkpoint = trained.root / "models/checkpoint"
    weights = checkpoint / "nadir.json"
    old = weights.read_bytes()
    assert resolve_model("models:/nadir@champion", trained.root) == checkpoint
    weights.unlink()
    weights.write_bytes(old)
    assert resolve_model("models:/nadir@champion", trained.root) == checkpoint, "a copy will do"
    weights.write_bytes(old.replace(b"0.", b"1."))  # as `train` does before DVC has its hash
    found = resolve_model("models:/nadir@champion", trained.root)
    assert found != checkpoint
    assert (found / "nadir.json").read_bytes() == old
    weights.write_bytes(old)
    (checkpoint / "more.json").write_bytes(b"{}")
    assert resolve_model("models:/nadir@champion", trained.root) == found


def test_a_run_that_this_store_lacks_gets_one_stand_in(trained: MiniProject) -> None:
    (trained.root / "models/run.json").unlink()
    write_json(trained.root / "models/run.json", {"run_id": "0" * 32, "fingerprint": "x"})
    run_id = registered(trained).version.run_id
    run = connect(trained.root).get_run(run_id)
    assert run.data.tags["nadir.restored_from"] == "0" * 32
    assert "cfg_4.5.contrast" in run.data.metrics
    assert registered(trained).version.run_id == run_id


def test_a_loaded_version_runs_the_projects_own_code(trained: MiniProject) -> None:
    registered(trained)
    client: MlflowClient = connect(trained.root)
    uri = client.get_model_version_download_uri("nadir", "1")
    folder = Path(uri.removeprefix("file://"))
    pointer = json.loads((folder / "artifacts/pointer.json").read_text(encoding="utf-8"))
    assert pointer["md5"] == client.get_model_version("nadir", "1").tags["out.md5"]
    assert (folder / "model_code.py").is_file()
    assert "prompt" in (folder / "MLmodel").read_text(encoding="utf-8"), "its signature"


def test_weights_that_are_nowhere_are_told_with_a_way_out(project: MiniProject) -> None:
    with pytest.raises(NadirError, match="neither in DVC's cache nor in its remote"):
        materialise("0" * 32 + ".dir", project.root)


@pytest.mark.parametrize(
    "uri",
    ["nadir", "models:/", "models:/nadir", "models:/nadir/", "models:/nadir@", "models:/@champion"],
)
def test_a_name_of_another_form_is_explained(project: MiniProject, uri: str) -> None:
    with pytest.raises(NadirError, match="names no registered model"):
        resolve_version(uri, project.root)


@pytest.mark.parametrize("number", ["7", str(2**31), "9" * 30, "three", "-1"])
def test_a_number_that_no_version_has_is_missing_also_where_no_database_could_hold_it(
    project: MiniProject, number: str
) -> None:
    with pytest.raises(NadirError, match=f"the registry has no `models:/nadir/{number}`"):
        resolve_version(f"models:/nadir/{number}", project.root)


def test_an_unknown_alias_lists_what_there_is(project: MiniProject) -> None:
    with pytest.raises(NadirError, match="the registry has no `models:/nadir@champion`"):
        resolve_version("models:/nadir@champion", project.root)


def test_nothing_is_registered_before_an_evaluation(project: MiniProject) -> None:
    with pytest.raises(NadirError, match="no evaluated checkpoint to register"):
        register(project.root, fingerprint="f" * 64)
