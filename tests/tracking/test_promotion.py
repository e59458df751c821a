"""Promotion and rollback move aliases by rule and may be repeated."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.mini.project import MiniProject
from tests.mini.weights import add_version, cached_weights, judged_better
from typer.testing import CliRunner

from nadir.cli import app
from nadir.data.gate.accepted_profile import read_reference
from nadir.ground.errors import NadirError
from nadir.pipeline.promotion import promote, rollback
from nadir.tracking.registry.versions import alias_table
from nadir.tracking.store.connection import connect


@pytest.fixture
def client(project: MiniProject) -> MlflowClient:
    return connect(project.root)


def test_the_challenger_becomes_champion_and_the_old_one_previous(client: MlflowClient) -> None:
    add_version(client, Path())
    first = promote()
    assert (first.champion, first.previous, first.changed) == (1, None, True)
    judged_better(client, add_version(client, Path()))
    second = promote()
    assert (second.champion, second.previous) == (2, 1)
    assert alias_table(client, "nadir") == {"champion": "2", "previous": "1"}


def test_repeating_a_promotion_changes_nothing(client: MlflowClient) -> None:
    add_version(client, Path())
    add_version(client, Path())
    promote(version=1)
    judged_better(client, 2)
    promote(version=2)
    again = promote(version=2)
    assert not again.changed
    assert (again.champion, again.previous) == (2, 1)


def test_a_rollback_swaps_and_a_second_one_swaps_back(client: MlflowClient) -> None:
    add_version(client, Path())
    add_version(client, Path())
    promote(version=1)
    judged_better(client, 2)
    promote(version=2)
    assert rollback().champion == 1
    assert rollback().champion == 2


def test_going_back_gives_the_alias_challenger_back_and_going_back_again_takes_it(
    client: MlflowClient,
) -> None:
    add_version(client, Path())
    promote()
    judged_better(client, add_version(client, Path()))
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
    add_version(client, Path())
    add_version(client, Path())
    promote(version=2)
    promote(version=1, force_reason="the older one")
    rollback()
    assert alias_table(client, "nadir") == {"champion": "2", "previous": "1"}
    add_version(client, Path())
    rollback()
    assert alias_table(client, "nadir") == {"champion": "1", "previous": "2", "challenger": "3"}


def test_promotion_accepts_the_dataset_of_the_promoted_run(
    client: MlflowClient, project: MiniProject
) -> None:
    add_version(client, Path())
    promote()
    assert read_reference(project.root) is None
    judged_better(client, add_version(client, Path()))
    run_id = client.get_model_version_by_alias("nadir", "challenger").run_id
    profile = {"images": 7, "tags": {"solo": 1.0}, "sizes": {}, "luminance": {}}
    client.log_text(run_id, json.dumps(profile), "profile.json")
    promote()
    assert read_reference(project.root) == profile


def test_a_version_that_the_gate_did_not_pass_is_refused_and_its_own_report_named(
    client: MlflowClient, project: MiniProject
) -> None:
    add_version(client, Path(), verdict="reject")
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
    add_version(client, Path())
    with pytest.raises(NadirError, match="the registry has no `models:/nadir/7`"):
        promote(version=7)


def test_the_command_promotes_goes_back_and_says_what_is_live(client: MlflowClient) -> None:
    def told(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["promote", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    add_version(client, Path())
    add_version(client, Path())
    assert told("--version", "1") == "nadir: the champion is now version 1\n"
    judged_better(client, 2)
    assert told() == "nadir: the champion is now version 2, before it version 1\n"
    assert (
        told("--version", "2") == "nadir: the champion is already version 2, before it version 1\n"
    )
    assert told("--back") == "nadir: the champion is now version 1, before it version 2\n"
    with pytest.raises(NadirError, match="exclude each other"):
        told("--back", "--version", "2")
    assert alias_table(client, "nadir")["champion"] == "1"


def test_a_version_whose_weights_cannot_be_had_is_refused_also_on_the_way_back(
    client: MlflowClient, project: MiniProject
) -> None:
    add_version(client, project.root)
    add_version(client, project.root, weights=cached_weights(project.root, "second"))
    promote(version=1)
    judged_better(client, 2)
    promote(version=2)
    before = alias_table(client, "nadir")
    add_version(client, project.root)
    judged_better(client, 3)
    shutil.rmtree(project.root / ".dvc/cache")
    for arguments in (["promote"], ["promote", "--version", "2"], ["promote", "--back"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 1
        assert "neither in DVC's cache nor in its remote" in str(done.exception)
        table = alias_table(client, "nadir")
        assert {**before, "challenger": "3"} == table, arguments
    cached_weights(project.root, "second")
    assert promote(version=2).champion == 2


def test_a_version_whose_weights_are_in_the_remote_only_is_promoted(
    client: MlflowClient, project: MiniProject
) -> None:
    add_version(client, project.root)
    project.dvc("remote", "add", "-d", "shared", str(project.root.parent / "remote"))
    shutil.move(project.root / ".dvc/cache", project.root.parent / "remote")
    assert promote().champion == 1
    for path in (project.root.parent / "remote/files/md5").glob("??/*"):
        if path.suffix != ".dir":
            path.unlink()
    with pytest.raises(NadirError, match="neither in DVC's cache nor in its remote"):
        promote(version=1)


def test_weights_that_are_damaged_are_not_promoted(
    client: MlflowClient, project: MiniProject
) -> None:
    add_version(client, project.root)
    (path,) = (p for p in project.root.glob(".dvc/cache/files/md5/??/*") if p.suffix != ".dir")
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[::-1])
    with pytest.raises(NadirError, match="damaged in DVC's cache and not in its remote"):
        promote()
    assert "champion" not in alias_table(client, "nadir")
