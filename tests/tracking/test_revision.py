"""The exact state of a dirty work tree becomes a commit, and the user's repository stays."""

from __future__ import annotations

import json
from pathlib import Path

from tests.mini.project import MiniProject

from nadir.tracking.lineage import lineage_tags
from nadir.tracking.revision import git_state, save_experiment


def test_a_clean_tree_is_its_commit(project: MiniProject) -> None:
    head = project.git("rev-parse", "HEAD")
    assert git_state(project.root).commit == head
    assert not git_state(project.root).dirty
    assert save_experiment(project.root, "same") == head


def test_a_lock_file_that_a_run_wrote_does_not_make_the_code_dirty(project: MiniProject) -> None:
    (project.root / "dvc.lock").write_text("schema: '2.0'\n", encoding="utf-8")
    assert not git_state(project.root).dirty
    project.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    assert git_state(project.root).dirty


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

    saved = save_experiment(project.root, "train/ab cd")

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


def test_without_git_there_are_no_git_tags_and_no_fault(tmp_path: Path) -> None:
    assert git_state(tmp_path).commit == ""
    assert save_experiment(tmp_path, "x") == ""
    tags = lineage_tags(tmp_path, fingerprint="f" * 64)
    assert "git.commit" not in tags
    assert tags["dvc.stage_fingerprint"] == "f" * 64
