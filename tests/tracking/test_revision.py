"""The exact state of a dirty work tree becomes a commit, and the user's repository stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.mini.project import MiniProject

from nadir.tracking.lineage import lineage_tags
from nadir.tracking.revision import GitState, git_state, save_experiment


def test_a_clean_tree_is_its_commit(project: MiniProject) -> None:
    head = project.git("rev-parse", "HEAD")
    assert git_state(project.root).commit == head
    assert not git_state(project.root).dirty
    assert save_experiment(project.root, "same").commit == head


def test_a_lock_file_that_a_run_wrote_does_not_make_the_code_dirty(project: MiniProject) -> None:
    (project.root / "dvc.lock").write_text("schema: '2.0'\n", encoding="utf-8")
    assert not git_state(project.root).dirty
    project.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    assert git_state(project.root).dirty
    assert git_state(project.root).tags()["git.changed"] == "params.yaml"


def test_a_question_writes_nothing_as_to_a_disk_that_is_full(project: MiniProject) -> None:
    (project.root / "params.yaml").touch()
    index = project.root / ".git/index"
    before = index.stat().st_mtime_ns, index.read_bytes()
    assert not git_state(project.root).dirty
    assert (index.stat().st_mtime_ns, index.read_bytes()) == before


def test_of_many_changed_files_the_first_are_named() -> None:
    state = GitState("a", dirty=True, changed=tuple(f"{n}.py" for n in range(25)))
    assert state.changed_files().startswith("0.py, 1.py, ")
    assert state.changed_files().endswith("19.py, and 5 more")


def test_a_dirty_tree_is_saved_as_a_dvc_experiment_and_stays_as_it_was(
    project: MiniProject,
) -> None:
    head = project.git("rev-parse", "HEAD")
    project.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    (project.root / "dvc.lock").write_text("schema: '2.0'\n", encoding="utf-8")
    (project.root / "src").mkdir()
    (project.root / "src" / "new.py").write_text("new = 1\n", encoding="utf-8")
    (project.root / "code.py").write_text("# staged\n", encoding="utf-8")
    project.git("add", "code.py")
    before = project.git("status", "--porcelain")
    assert git_state(project.root).changed == ("code.py", "params.yaml", "src/new.py")

    experiment = save_experiment(project.root, "train/ab cd")

    saved = experiment.commit
    assert experiment.name == "train-ab-cd"

    assert project.git("status", "--porcelain") == before
    assert project.git("rev-parse", "HEAD") == head
    assert project.git("symbolic-ref", "HEAD") == "refs/heads/main"
    assert "0.002" in project.git("show", f"{saved}:params.yaml")
    assert project.git("show", f"{saved}:src/new.py") == "new = 1"
    assert project.git("show", f"{saved}:code.py") == "# staged"
    assert project.git("show", f"{saved}:dvc.lock") == "schema: '2.0'"
    assert project.git("rev-parse", f"{saved}^") == head
    assert "train-ab-cd" in project.dvc("exp", "list")


def test_dvc_shows_the_saved_experiment_with_its_parameters(project: MiniProject) -> None:
    project.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    save_experiment(project.root, "faster")
    shown = json.loads(project.dvc("exp", "show", "--json"))
    assert "faster" in json.dumps(shown)


def test_two_states_of_one_name_are_two_experiments(project: MiniProject) -> None:
    project.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    first = save_experiment(project.root, "train")
    assert save_experiment(project.root, "train") == first
    project.set("  max_gradient_norm: 2.0", "  max_gradient_norm: 3.0")
    second = save_experiment(project.root, "train")
    assert second.name.startswith("train-")
    assert project.git("rev-parse", f"{second.commit}^{{tree}}") != project.git(
        "rev-parse", f"{first.commit}^{{tree}}"
    )
    assert {first.name, second.name} <= set(project.dvc("exp", "list", "--name-only").split())


def _distrusted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")  # as in a container or on a share


def _without_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))


def _without_repository(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")  # as from a ZIP archive
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))


def _without_commit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)


def _corrupt(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (root / ".git" / "objects").glob("??/*"):
        path.unlink()


def _foreign(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that was unpacked inside the repository of something else."""
    shutil.rmtree(root / ".git")
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "Dot files"]):
        subprocess.run(
            ["git", "-c", "user.name=T", "-c", "user.email=t@nadir.invalid", *command],
            cwd=root.parent,
            check=True,
        )


@pytest.mark.parametrize(
    ("spoil", "reason", "remedy"),
    [
        (_distrusted, "dubious ownership", "git config --global --add safe.directory {root}"),
        (_without_git, "git is not installed", "install git"),
        (_without_repository, "not a git repository", "git init"),
        (_without_commit, "nothing is committed yet", "git commit"),
        (_corrupt, "cannot be read", "git fsck"),
        (_foreign, "has no dvc.yaml of this folder", "git commit"),
    ],
)
def test_where_git_names_no_commit_its_reason_is_told_and_kept(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch, spoil: Any, reason: str, remedy: str
) -> None:
    spoil(project.root, monkeypatch)
    state = git_state(project.root)
    assert state.commit == ""
    assert reason in state.fault
    assert "\n" not in state.fault
    assert remedy.format(root=project.root) in state.fix
    assert reason in save_experiment(project.root, "x").fault
    tags = lineage_tags(project.root, fingerprint="f" * 64)
    assert reason in tags["git.fault"]
    assert not {"git.commit", "git.dirty"} & tags.keys()
    assert tags["dvc.stage_fingerprint"] == "f" * 64


def test_the_remedy_for_a_distrusted_folder_works(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = project.git("rev-parse", "HEAD")
    _distrusted(project.root, monkeypatch)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    state = git_state(project.root)
    subprocess.run(state.fix.strip("`"), shell=True, check=True)
    assert git_state(project.root) == GitState(head, dirty=False)


def test_an_experiment_that_cannot_be_saved_is_told_on_the_version(project: MiniProject) -> None:
    project.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    (project.root / ".git" / "refs" / "exps").write_text("in the way")
    experiment = save_experiment(project.root, "x")
    assert experiment.commit == ""
    tags = lineage_tags(project.root, fingerprint="f" * 64, experiment=experiment)
    assert tags["git.commit"] == project.git("rev-parse", "HEAD")
    assert tags["git.fault"].startswith("no experiment: ")


def test_the_repository_of_a_hook_that_starts_a_run_is_not_taken_for_the_projects(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    head = project.git("rev-parse", "HEAD")
    subprocess.run(["git", "init", "-q", str(tmp_path / "other")], check=True)
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "other" / ".git"))
    assert git_state(project.root).commit == head
