"""The order of stages and what has changed come from DVC."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.mini.project import STAGES, MiniProject

from nadir.ground.errors import NadirError
from nadir.pipeline.graph import (
    ancestors,
    changed_stages,
    require_repository,
    stage_graph,
    stage_order,
)


def test_stages_follow_what_they_depend_on_and_else_the_files_order(project: MiniProject) -> None:
    assert stage_order(project.root) == STAGES


def test_until_keeps_only_what_the_stage_needs(project: MiniProject) -> None:
    assert stage_order(project.root, "encode") == ["ingest", "encode"]
    assert stage_order(project.root, "base_model") == ["base_model"]


def test_ancestors_are_transitive(project: MiniProject) -> None:
    graph = stage_graph(project.root)
    assert ancestors(graph, "evaluate") == {"train", "base_model", "encode", "ingest"}


def test_an_unknown_stage_gets_a_suggestion(project: MiniProject) -> None:
    with pytest.raises(NadirError, match=r"no stage `trian`; did you mean train\?"):
        stage_order(project.root, "trian")


def test_a_download_without_git_is_told_commands_that_work(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / ".git").rename(project.root.parent / "not-here")
    with pytest.raises(NadirError, match="the project is not a git repository") as told:
        stage_graph(project.root)
    (commands,) = re.findall("`(git init .*?)`", told.value.fix)
    for variable in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{variable}_NAME", "Test")
        monkeypatch.setenv(f"{variable}_EMAIL", "test@nadir.invalid")
    project.command("sh", "-c", commands)
    assert list(stage_graph(project.root)) == STAGES
    assert project.git("status", "--porcelain") == ""


def test_where_git_itself_is_missing_it_comes_first(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project.root / ".git").rename(project.root.parent / "not-here")
    monkeypatch.setenv("PATH", str(project.root))
    with pytest.raises(NadirError, match="install git, then `git init"):
        require_repository(project.root)


def test_a_folder_without_dvcs_settings_is_told_so(project: MiniProject) -> None:
    (project.root / ".dvc").rename(project.root.parent / "not-here")
    with pytest.raises(NadirError, match=r"the folder `\.dvc` is missing.*\n.*git checkout \.dvc"):
        stage_graph(project.root)
    project.git("checkout", ".dvc")
    assert list(stage_graph(project.root)) == STAGES


def test_a_project_that_dvc_is_told_to_use_without_git_is_not_refused(
    project: MiniProject,
) -> None:
    project.dvc("config", "core.no_scm", "true")
    (project.root / ".git").rename(project.root.parent / "not-here")
    assert list(stage_graph(project.root)) == STAGES


def test_a_broken_dvc_yaml_is_told_with_its_place(project: MiniProject) -> None:
    (project.root / "dvc.yaml").write_text("stages:\n  a: {cmd: true\n", encoding="utf-8")
    with pytest.raises(NadirError, match=r"dvc\.yaml"):
        stage_graph(project.root)


def test_changed_stages_are_those_of_dvc_status(project: MiniProject) -> None:
    assert set(changed_stages(project.root)) == set(STAGES)
    project.dvc("repro", "encode")
    changed = changed_stages(project.root)
    assert set(changed) == {"ingest", "base_model", "train", "evaluate"}


def test_the_projects_own_pipeline_is_in_order(root: Path) -> None:
    order = stage_order(root)
    assert order[0] == "ingest"
    assert order[-2:] == ["train", "evaluate"]
    assert order.index("encode") < order.index("latent_statistics")
