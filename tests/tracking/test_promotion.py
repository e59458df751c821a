"""Promotion and rollback move aliases by rule and may be repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.mini.project import MiniProject
from typer.testing import CliRunner

from nadir.cli import app
from nadir.data.reference import read_reference
from nadir.ground.errors import NadirError
from nadir.tracking.promotion import promote, rollback
from nadir.tracking.registry import alias_table
from nadir.tracking.store import connect, experiment_id


@pytest.fixture
def client(project: MiniProject) -> MlflowClient:
    return connect(project.root)


def add_version(client: MlflowClient, verdict: str = "promote") -> None:
    """A version as `register` leaves it: its run with a verdict, itself the challenger."""
    run = client.create_run(experiment_id(client), tags={"nadir.gate": verdict})
    if not client.search_registered_models():
        client.create_registered_model("nadir")
    version = client.create_model_version("nadir", "file:///nothing", run.info.run_id)
    client.set_registered_model_alias("nadir", "challenger", version.version)


def test_the_challenger_becomes_champion_and_the_old_one_previous(client: MlflowClient) -> None:
    add_version(client)
    first = promote()
    assert (first.champion, first.previous, first.changed) == (1, None, True)
    add_version(client)
    second = promote()
    assert (second.champion, second.previous) == (2, 1)
    assert alias_table(client, "nadir") == {"champion": "2", "previous": "1"}


def test_repeating_a_promotion_changes_nothing(client: MlflowClient) -> None:
    add_version(client)
    add_version(client)
    promote(version=1)
    promote(version=2)
    again = promote(version=2)
    assert not again.changed
    assert (again.champion, again.previous) == (2, 1)


def test_a_rollback_swaps_and_a_second_one_swaps_back(client: MlflowClient) -> None:
    add_version(client)
    add_version(client)
    promote(version=1)
    promote(version=2)
    assert rollback().champion == 1
    assert rollback().champion == 2


def test_going_back_gives_the_alias_challenger_back_and_going_back_again_takes_it(
    client: MlflowClient,
) -> None:
    add_version(client)
    promote()
    add_version(client)
    promote()
    rollback()
    assert alias_table(client, "nadir") == {"champion": "1", "previous": "2", "challenger": "2"}
    rollback()
    assert alias_table(client, "nadir") == {"champion": "2", "previous": "1"}
    rollback()
    assert promote().champion == 2, "the challenger again"


def test_going_back_leaves_a_newer_challenger_and_makes_none_of_an_older_version(
    client: MlflowClient,
) -> None:
    add_version(client)
    add_version(client)
    promote(version=2)
    promote(version=1)
    rollback()
    assert alias_table(client, "nadir") == {"champion": "2", "previous": "1"}
    add_version(client)
    rollback()
    assert alias_table(client, "nadir") == {"champion": "1", "previous": "2", "challenger": "3"}


def test_promotion_accepts_the_dataset_of_the_promoted_run(
    client: MlflowClient, project: MiniProject
) -> None:
    add_version(client)
    promote()
    assert read_reference(project.root) is None
    add_version(client)
    run_id = client.get_model_version_by_alias("nadir", "challenger").run_id
    profile = {"images": 7, "tags": {"solo": 1.0}, "sizes": {}, "luminance": {}}
    client.log_text(run_id, json.dumps(profile), "profile.json")
    promote()
    assert read_reference(project.root) == profile


def test_a_version_that_the_gate_did_not_pass_is_refused_and_its_own_report_named(
    client: MlflowClient, project: MiniProject
) -> None:
    add_version(client, "reject")
    run_id = client.get_model_version_by_alias("nadir", "challenger").run_id
    client.log_text(run_id, "its own", "evaluation.html")
    (project.root / "reports").mkdir()
    (project.root / "reports/evaluation.html").write_text("another model's")
    with pytest.raises(NadirError, match="the gate's verdict on version 1 is `reject`") as caught:
        promote()
    assert Path(caught.value.where).read_text() == "its own"
    assert "champion" not in alias_table(client, "nadir")


def test_without_a_challenger_or_a_previous_champion_there_is_a_clear_error(
    client: MlflowClient,
) -> None:
    with pytest.raises(NadirError, match="`nadir` has no challenger"):
        promote()
    with pytest.raises(NadirError, match="no previous champion to go back to"):
        rollback()
    add_version(client)
    with pytest.raises(NadirError, match="the registry has no `models:/nadir/7`"):
        promote(version=7)


def test_the_command_promotes_goes_back_and_says_what_is_live(client: MlflowClient) -> None:
    def told(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["promote", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    add_version(client)
    add_version(client)
    assert told("--version", "1") == "nadir: the champion is now version 1\n"
    assert told() == "nadir: the champion is now version 2, before it version 1\n"
    assert (
        told("--version", "2") == "nadir: the champion is already version 2, before it version 1\n"
    )
    assert told("--back") == "nadir: the champion is now version 1, before it version 2\n"
    with pytest.raises(NadirError, match="exclude each other"):
        told("--back", "--version", "2")
    assert alias_table(client, "nadir")["champion"] == "1"
