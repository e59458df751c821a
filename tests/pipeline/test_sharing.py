"""What is registered reaches a second clone by DVC's and git's remotes, and what cannot is told."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.mini.project import MiniProject
from tests.mini.weights import add_version, cached_weights

from nadir.ground.errors import NadirError
from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.pipeline.opening import open_session
from nadir.pipeline.storage.cache import cache_folder, resolve_model
from nadir.pipeline.storage.remote import remote_holds, send
from nadir.pipeline.storage.sharing import share_versions
from nadir.tracking.lock_file import output_hashes, read_lock
from nadir.tracking.registry.registration import register
from nadir.tracking.registry.versions import Version, resolve_version
from nadir.tracking.store.connection import connect, tracking_uri


def registered(project: MiniProject) -> Version:
    fingerprint = entry_fingerprint(read_lock(project.root)["train"])
    return register(project.root, fingerprint=fingerprint).version


def share(project: MiniProject, version: Version) -> str:
    lines: list[str] = []
    share_versions(project.root, version, lines.append)
    return "\n".join(lines)


def add_remotes(project: MiniProject, folder: Path) -> None:
    """A bare git repository and a folder that is DVC's remote, both outside of the clone."""
    subprocess.run(["git", "init", "-q", "--bare", str(folder / "code.git")], check=True)
    project.git("remote", "add", "origin", str(folder / "code.git"))
    project.dvc("remote", "add", "-q", "-d", "shared", str(folder / "objects"))
    project.git("commit", "-q", "-am", "Name the remote")
    project.git("push", "-q", "origin", "main")


def second_clone(folder: Path, monkeypatch: pytest.MonkeyPatch, first: MiniProject) -> MiniProject:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracking_uri(first.root))
    subprocess.run(
        ["git", "clone", "-q", "-b", "main", str(folder / "code.git"), str(folder / "second")],
        check=True,
    )
    return MiniProject(folder / "second")


def test_a_second_clone_gets_the_weights_and_parameters_of_every_registered_version(
    trained: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = add_version(
        connect(trained.root), trained.root, weights=cached_weights(trained.root, "old")
    )
    add_remotes(trained, tmp_path)
    trained.set("  cfg_scales: [", "  cfg_scales: [2.5, ")  # nobody commits this
    version = registered(trained)
    told = share(trained, version)
    assert f"sending nadir version {old} to DVC's remote `shared` (2 files)" in told
    assert f"sending nadir version {version.version} to DVC's remote" in told
    assert share(trained, registered(trained)) == "", "once"
    second = second_clone(tmp_path, monkeypatch, trained)
    weights = resolve_model(f"models:/nadir/{version.version}", second.root) / "nadir.json"
    assert weights.read_bytes() == (trained.root / "models/checkpoint/nadir.json").read_bytes()
    assert (resolve_model(f"models:/nadir/{old}", second.root) / "nadir.json").read_text() == "old"
    tags = resolve_version(f"models:/nadir/{version.version}", second.root).tags
    assert tags["nadir.weights_at"] == str(tmp_path / "objects")
    second.dvc("exp", "pull", "-q", "--no-cache", "origin", tags["dvc.exp_name"])
    shown = second.git("show", f"{tags['dvc.exp_rev']}:params.yaml")
    assert "cfg_scales: [2.5," in shown
    lock = output_hashes(read_lock(trained.root))
    cache = cache_folder(second.root)
    assert remote_holds(lock["reports/samples"], second.root, cache)
    assert not remote_holds(lock["data/latents"], second.root, cache), "made again from pictures"


def test_a_second_worker_over_the_same_cache_computes_nothing_again(
    trained: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    trained.git("clone", "-q", str(trained.root), str(tmp_path / "second"))
    second = MiniProject(tmp_path / "second")
    second.dvc("cache", "dir", "-q", "--local", str(trained.root / ".dvc/cache"))
    with open_session(second.root, until="evaluate", flow_run_id="b", name="b") as session:
        states = {stage: session.run(stage).state for stage in session.stages}
    assert states == {
        "ingest": "executed",  # it looks at the source each time
        "encode": "restored",
        "base_model": "restored",
        "train": "restored",
        "evaluate": "restored",
    }
    assert output_hashes(read_lock(second.root)) == output_hashes(read_lock(trained.root))


def test_what_stays_on_this_machine_is_said_and_the_remedy_for_another_works(
    trained: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", "--bare", str(tmp_path / "code.git")], check=True)
    told = share(trained, version := registered(trained))
    assert "register: kept on this machine only: no DVC remote is configured" in told
    assert "no git remote (`git remote add origin URL`)" in told
    trained.dvc("remote", "add", "-q", "-d", "own", "work/dvc-remote")
    told = share(trained, version)
    assert (
        "DVC's remote `own` is a folder of this clone (`dvc remote add --default NAME URL`" in told
    )
    trained.git("remote", "add", "origin", str(tmp_path / "code.git"))
    trained.git("push", "-q", "origin", "main")
    share(trained, version)
    assert "refs/exps" not in trained.git("ls-remote", "origin"), "nobody asked for that"
    second = second_clone(tmp_path, monkeypatch, trained)
    with pytest.raises(NadirError, match="neither in DVC's cache nor in its remote") as caught:
        resolve_model("models:/nadir@champion", second.root)
    assert "`dvc remote add --default NAME URL`) and `nadir run`, which sends" in caught.value.fix
    for clone in (trained, second):
        clone.dvc("remote", "add", "-q", "--default", "shared", str(tmp_path / "objects"))
    share(trained, registered(trained))
    assert (resolve_model("models:/nadir@champion", second.root) / "nadir.json").is_file()


def test_a_lost_version_names_the_command_that_brings_its_state_back(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    md5, lock = registered(trained).md5, (trained.root / "dvc.lock").read_text()
    trained.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    (trained.root / "dvc.lock").write_text(lock.replace(md5, "0" * 32 + ".dir"))
    shutil.rmtree(trained.root / ".dvc/cache")
    with pytest.raises(NadirError) as caught:
        resolve_model("models:/nadir/1", trained.root)
    command = caught.value.fix.split("`")[-2]
    assert command.endswith(" && nadir run")
    subprocess.run(command.removesuffix(" && nadir run"), shell=True, cwd=trained.root, check=True)
    assert output_hashes(read_lock(trained.root))["models/checkpoint"] == md5
    assert "max_gradient_norm: 1.0" in (trained.root / "params.yaml").read_text()
    trained.dvc("repro")
    assert (resolve_model("models:/nadir/1", trained.root) / "nadir.json").is_file()


def test_what_cannot_be_sent_is_told_with_a_command_and_tried_again(
    trained: MiniProject, tmp_path: Path
) -> None:
    add_remotes(trained, tmp_path)
    (tmp_path / "code.git").rename(tmp_path / "away.git")
    (tmp_path / "objects").write_text("in the way")
    version = registered(trained)
    told = share(trained, version)
    assert f"the weights of nadir version 1 could not be sent to {tmp_path}/objects: " in told
    assert "fix: correct that, then `nadir run` sends them" in told
    assert f"the commit of nadir version 1 could not be sent to {tmp_path}/code.git: " in told
    assert "does not appear to be a git repository" in told
    command = told.split("fix: `git push")[1].split("`")[0]
    (tmp_path / "away.git").rename(tmp_path / "code.git")
    subprocess.run(f"git push {command}", shell=True, cwd=trained.root, check=True)
    (tmp_path / "objects").unlink()
    told = share(trained, version)
    assert "sending nadir version 1" in told
    assert "could not" not in told


def test_a_commit_of_a_branch_is_sent_under_a_name_of_its_own_and_settings_of_dvc_count(
    trained: MiniProject, tmp_path: Path
) -> None:
    trained.git("add", "dvc.lock")
    add_remotes(trained, tmp_path)
    trained.git("commit", "-q", "--allow-empty", "-m", "Not pushed")
    version = registered(trained)
    trained.dvc("config", "exp.auto_push", "false")
    assert "`exp.auto_push` is false" in share(trained, version)
    trained.dvc("config", "--unset", "exp.auto_push")
    share(trained, version)
    head = trained.git("rev-parse", "HEAD")
    assert version.tags["dvc.exp_rev"] == head
    listed = trained.git("ls-remote", "origin")
    assert f"{head}\trefs/nadir/nadir/1" in listed
    assert f"{head}\trefs/heads/main" not in listed, "branches are the user's"


def test_weights_go_to_s3_and_come_back(trained: MiniProject, bucket: Any, s3_server: str) -> None:
    trained.dvc("remote", "add", "-q", "-d", "shared", f"s3://{bucket}/objects")
    trained.dvc("remote", "modify", "-q", "shared", "endpointurl", s3_server)
    share(trained, registered(trained))
    md5, cache = (
        output_hashes(read_lock(trained.root))["models/checkpoint"],
        cache_folder(trained.root),
    )
    shutil.rmtree(trained.root / ".dvc/cache")
    shutil.rmtree(trained.root / "models/checkpoint")
    assert remote_holds(md5, trained.root, cache)
    assert (resolve_model("models:/nadir/1", trained.root) / "nadir.json").is_file()
    with pytest.raises(NadirError, match="did not arrive"):
        send(["0" * 32], trained.root)
