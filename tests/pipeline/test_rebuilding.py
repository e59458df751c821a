"""A version's code, parameters and data in a folder of their own, from remotes where need be."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.mini.project import MiniProject
from tests.mini.weights import add_version
from tests.pipeline.test_sharing import add_remotes, registered, second_clone, share
from typer.testing import CliRunner

from nadir.cli import app
from nadir.ground.errors import NadirError
from nadir.pipeline.lineage.worktrees import temporary_worktree
from nadir.pipeline.storage.objects import cache_folder, listing, object_path
from nadir.tracking.lock_file import output_hashes, read_lock
from nadir.tracking.registry.versions import Version
from nadir.tracking.store.connection import connect

WHOLE = "DVC finds all of it and would run no stage but the listing"


def rebuild(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["rebuild", *arguments])
    if isinstance(result.exception, NadirError):
        raise result.exception
    return result.exit_code, result.output


def worktrees(project: MiniProject) -> list[str]:
    """Those of git, and what lies in the folder of temporary ones."""
    listed = project.git("worktree", "list", "--porcelain").split("\n\n")
    folder = project.root / "work/rebuild"
    return [*listed[1:], *(str(path) for path in folder.glob("*/"))]


@pytest.fixture
def dirty(trained: MiniProject) -> tuple[MiniProject, Version]:
    """A version of which nobody committed parameters and lock file: an experiment holds them."""
    trained.set("train:\n", "# Nobody commits this.\ntrain:\n")
    return trained, registered(trained)


def test_a_fresh_clone_rebuilds_a_version_from_the_remotes_and_the_registry(
    dirty: tuple[MiniProject, Version], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, version = dirty
    add_remotes(first, tmp_path)
    share(first, version)
    second = second_clone(tmp_path, monkeypatch, first)
    monkeypatch.chdir(second.root)
    code, text = rebuild("champion", "--check")
    # Registering sends what cannot be made again.
    assert code == 1
    lost = [line for line in text.splitlines() if line.startswith("not found: ")]
    assert [line.split(": ")[1] for line in lost] == ["data/latents", "models/base"]
    assert "is not in DVC's cache, and the remote `shared` does not have it" in lost[0]
    assert worktrees(second) == []
    first.dvc("push", "-q")
    code, text = rebuild("champion", "--check")
    assert (code, WHOLE in text) == (0, True), text
    assert f"commit {version.tags['dvc.exp_rev'][:12]}: 10 outputs" in text
    assert worktrees(second) == []
    assert not (second.root / "models").exists(), "the workspace stays as it was"
    assert not second.git("status", "--porcelain")


def test_a_rebuilt_version_is_ready_to_run_and_runs_nothing(
    dirty: tuple[MiniProject, Version], tmp_path: Path
) -> None:
    project, version = dirty
    project.git("checkout", "-q", "params.yaml")
    (project.root / "dvc.lock").unlink()  # the workspace went on
    code, text = rebuild(str(version.version), "--into", str(tmp_path / "old"))
    assert (code, WHOLE in text) == (0, True), text
    old = MiniProject(tmp_path / "old")
    assert "# Nobody commits this." in (old.root / "params.yaml").read_text()
    assert (old.root / "models/checkpoint/nadir.json").is_file()
    printed = old.dvc("repro", "--dry")
    assert printed.count("Running stage") == 1, printed  # the listing
    assert (old.root / ".dvc/config.local").stat().st_mode & 0o077 == 0
    with pytest.raises(NadirError, match="there is something of this name"):
        rebuild(str(version.version), "--into", str(tmp_path / "old"))
    assert f"git worktree remove --force {old.root}" in text
    project.git("worktree", "remove", "--force", str(old.root))
    assert (project.root / "models/checkpoint/nadir.json").is_file()


def test_what_is_lost_damaged_or_changed_is_named(dirty: tuple[MiniProject, Version]) -> None:
    project, version = dirty
    lock = output_hashes(read_lock(project.root))
    cache = cache_folder(project.root)
    weight = object_path(listing(lock["models/checkpoint"], cache)["nadir.json"], cache)
    shutil.rmtree(project.root / "models")
    weight.chmod(0o644)
    weight.write_bytes(b'{"weight": 7}')
    connect(project.root).set_model_version_tag(
        version.name, str(version.version), "params.sha256", "0" * 64
    )
    code, text = rebuild("1", "--check")
    assert code == 1
    assert "not found: params.yaml: not what version 1 was made with" in text
    assert "not found: models/checkpoint: " in text
    assert "is damaged in DVC's cache" in text
    weight.unlink(missing_ok=True)  # DVC may have removed it
    assert "is not in DVC's cache, and no remote is configured" in rebuild("1", "--check")[1]


def test_what_a_kill_left_is_swept_by_the_next(dirty: tuple[MiniProject, Version]) -> None:
    project, version = dirty
    commit = version.tags["dvc.exp_rev"]
    killed = (
        "import os, signal; from pathlib import Path;"
        "from nadir.pipeline.lineage.worktrees import temporary_worktree as t\n"
        f"with t(Path.cwd(), {commit!r}): os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", killed], cwd=project.root, check=False)
    assert done.returncode == -signal.SIGKILL
    left = worktrees(project)
    assert len(left) == 2
    # Git's own file may be missing, too, or git may have been killed while it filled the folder.
    (project.root / "work/rebuild" / commit[:12] / ".git").unlink()
    (project.root / ".git/worktrees" / commit[:12] / "locked").write_text("initializing")
    assert rebuild("1", "--check")[0] == 0
    assert worktrees(project) == []


def test_two_at_once_are_told(dirty: tuple[MiniProject, Version]) -> None:
    project, version = dirty
    held = temporary_worktree(project.root, version.tags["dvc.exp_rev"])
    told = rf"being rebuilt \(process {os.getpid()}\)"
    with held, pytest.raises(NadirError, match=told):
        rebuild("1", "--check")


@pytest.mark.parametrize(
    ("tags", "what"),
    [
        ({}, "names no commit, so its state is lost: it was not registered by the pipeline"),
        ({"git.fault": "not a git repository"}, "so its state is lost: not a git repository"),
        ({"git.commit": "1" * 40}, "commit 1{12} of version 1 .* neither in this clone nor in its"),
        (
            {"git.commit": "HEAD", "git.dirty": "true", "git.fault": "no experiment: disk full"},
            "files that differed from commit .* no experiment holds them: no experiment: disk full",
        ),
        ({"git.commit": "HEAD"}, "dvc.lock of commit .* names another checkpoint than version 1"),
    ],
)
def test_a_version_whose_state_is_nowhere_is_refused_in_one_sentence(
    project: MiniProject, tags: dict[str, str], what: str
) -> None:
    client = connect(project.root)
    number = add_version(client, project.root)
    head = project.git("rev-parse", "HEAD")
    for key, value in tags.items():
        client.set_model_version_tag("nadir", str(number), key, head if value == "HEAD" else value)
    with pytest.raises(NadirError, match=what):
        rebuild("1", "--check")
    assert worktrees(project) == []


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["1"], "either --check or --into FOLDER"),
        (["1", "--check", "--into", "x"], "either --check or --into FOLDER"),
        (["1", "--into", "inside"], "a project inside of the project"),
        (["7", "--check"], "the registry has no `models:/nadir/7`"),
    ],
)
def test_a_request_that_makes_no_sense_is_one_error(
    project: MiniProject, arguments: list[str], what: str
) -> None:
    with pytest.raises(NadirError, match=what):
        rebuild(*arguments)
