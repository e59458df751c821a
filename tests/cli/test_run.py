"""`nadir run`: what it makes of its options before anything runs."""

from __future__ import annotations

import pytest
from tests.mini.project import MiniProject, project

from nadir.cli.models import _champion
from nadir.cli.run import _source_assignment, _write_params
from nadir.config.edit import read_params
from nadir.ground.errors import NadirError

__all__ = ["project"]


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


def test_the_champion_that_draws_is_of_the_model_params_yaml_names(project: MiniProject) -> None:
    project.set("model_name: nadir", "model_name: foxes")
    assert _champion() == "models:/foxes@champion"
