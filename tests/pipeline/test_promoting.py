"""Promotions that a person approves, or that their own pictures undo; versions nobody needs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tests.mini.project import MiniProject
from tests.mini.weights import add_version, cached_weights, judged_better
from typer.testing import CliRunner

from nadir.cli import app
from nadir.ground.errors import NadirError
from nadir.pipeline.promoting import operation
from nadir.pipeline.promotion import promote
from nadir.tracking.registry.judgements import REASON_TAG
from nadir.tracking.registry.versions import alias_table
from nadir.tracking.store.connection import connect


@pytest.fixture
def client(project: MiniProject) -> MlflowClient:
    """Version 1 is live, version 2 was judged better."""
    client = connect(project.root)
    add_version(client, project.root)
    promote()
    judged_better(client, add_version(client, project.root))
    return client


def nadir(*arguments: str) -> str:
    """What a command says; its error if it ends with one."""
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, NadirError):
        assert done.exit_code == 1
        return f"error: {done.exception}"
    assert done.exit_code == 0, done.exception
    return done.stdout


def log() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(nadir("registry", "log", "--json"))
    return found


def said() -> list[tuple[str, int]]:
    return [(one["what"], one["version"]) for one in log()["decisions"]]


def test_under_approve_a_version_goes_live_only_after_somebody_said_so(
    client: MlflowClient, project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOGNAME", "alice")
    project.set("policy: auto", "policy: approve")
    for _ in range(2):
        told = nadir("promote")
        assert told.startswith("error: ")
        assert "version 2 waits for an approval until " in told
        assert "`nadir approve 2`" in told
    assert said() == [("asked", 2)], "one request"
    assert alias_table(client, "nadir")["champion"] == "1"
    monkeypatch.setenv("LOGNAME", "bob")
    told = nadir("approve", "2", "--reason", "better hands")
    assert told == "nadir: the champion is now version 2, before it version 1\n"
    approved, asked = log()["decisions"]
    assert (approved["who"].partition("@")[0], approved["reason"]) == ("bob", "better hands")
    assert (asked["who"].partition("@")[0], asked["verdict"]) == ("alice", "promote")
    assert "no approval of version 2 is asked for" in nadir("approve", "2")
    text = nadir("registry", "log")
    assert text.index("promote 1 -> 2") < text.index("version 2 approved") < text.index("asked")
    assert nadir("rollback") == "nadir: the champion is now version 1, before it version 2\n"
    assert "version 2 waits for an approval" in nadir("promote"), "an approval is for one promotion"


def test_a_rejection_needs_a_reason_and_leaves_everything_as_it_is(
    client: MlflowClient, project: MiniProject
) -> None:
    project.set("policy: auto", "policy: approve")
    nadir("promote")
    before = alias_table(client, "nadir")
    assert "a rejection needs a reason" in nadir("approve", "2", "--reject")
    assert nadir("approve", "2", "--reject", "--reason", "hands") == "version 2 is rejected\n"
    assert "it is rejected: hands" in nadir("approve", "2")
    assert alias_table(client, "nadir") == before
    assert said() == [("rejected", 2), ("asked", 2)]
    nadir("promote", "--force", "--reason", "the customer wants it")
    assert alias_table(client, "nadir")["champion"] == "2", "a person's word, too"


def test_nobody_answers_in_time_and_the_version_is_not_promoted(
    client: MlflowClient, project: MiniProject
) -> None:
    project.set("policy: auto", "policy: approve")
    project.set("answer_within_h: 72", "answer_within_h: 0.0000001")
    nadir("promote")
    assert "[NOT ANSWERED IN TIME: not promoted]" in nadir("registry", "log")
    told = nadir("approve", "2")
    assert "no approval of version 2 is asked for; it is timed out: nobody answered until " in told
    assert said() == [("timed out", 2), ("asked", 2)]
    assert alias_table(client, "nadir")["champion"] == "1"


def cut_off_approval(project: MiniProject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Approve version 2 in a process that is killed before the aliases move."""

    def killed(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    project.set("policy: auto", "policy: approve")
    nadir("promote")
    with monkeypatch.context() as patch:
        patch.setattr(operation, "promote", killed)
        assert CliRunner().invoke(app, ["approve", "2", "--reason", "yes"]).exit_code != 0


def test_an_approval_whose_promotion_was_killed_is_carried_out_by_the_same_command(
    client: MlflowClient, project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_approval(project, monkeypatch)
    assert alias_table(client, "nadir")["champion"] == "1"
    assert "the champion is now version 2" in nadir("approve", "2")
    assert said() == [("approved", 2), ("asked", 2)]


def test_what_the_gate_refuses_is_in_the_log_once_with_its_reason(
    client: MlflowClient, project: MiniProject
) -> None:
    reason = "loss may be better or worse: 40 images would settle it four times in five"
    judged_better(client, 2, "inconclusive")
    client.set_model_version_tag("nadir", "2", REASON_TAG, reason)
    for _ in range(2):
        told = nadir("promote")
        assert f"`inconclusive`: {reason}" in told
        assert "ask more prompts (evaluate.holdout_prompts" in told
    (refused,) = log()["decisions"]
    assert (refused["what"], refused["verdict"]) == ("refused", "inconclusive")
    assert reason in refused["reason"]
    judged_better(client, 2, "reject")
    client.set_model_version_tag("nadir", "2", REASON_TAG, "the loss is worse")
    assert "the loss is worse" in nadir("promote")
    assert said() == [("refused", 2), ("refused", 2)]
    assert log()["moves"][0]["to"] == "1"


def test_a_version_that_does_not_draw_is_taken_back_by_itself_also_after_a_kill(
    client: MlflowClient, project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object, **_named: object) -> None:
        raise KeyboardInterrupt

    project.set("smoke_pictures: 0", "smoke_pictures: 1")
    before = alias_table(client, "nadir")
    with monkeypatch.context() as patch:
        patch.setattr(operation, "run_told", killed)
        assert CliRunner().invoke(app, ["promote"]).exit_code != 0
    assert alias_table(client, "nadir")["champion"] == "2", "live, and not drawn by yet"
    told = nadir("promote", "--version", "2")
    assert "the champion is version 1 again: pictures of version 2 failed: " in told
    assert alias_table(client, "nadir") == before, "and is the challenger again"
    found = log()
    assert [(m["how"], m["from"], m["to"]) for m in found["moves"]][:2] == [
        ("back", "2", "1"),
        ("promote", "1", "2"),
    ]
    assert "pictures of version 2 failed" in found["moves"][0]["reason"]
    assert said() == [("pictures failed", 2)]
    assert found["fault"] == ""


def registered_files(client: MlflowClient, root: Path, number: int) -> Path:
    """A version with files in MLflow's store, as `register` makes it; where they lie."""
    run = client.create_run(client.get_experiment_by_name("nadir").experiment_id)
    model = client.create_logged_model(run.info.experiment_id, name="nadir")
    (root / "work/files").mkdir(exist_ok=True)
    (root / "work/files/weights").write_bytes(b"0" * 1_000_000)
    client.log_model_artifacts(model.model_id, str(root / "work/files"))
    client.finalize_logged_model(model.model_id, "READY")
    made = client.create_model_version(
        "nadir", model.artifact_location, run.info.run_id, model_id=model.model_id,
        tags={"out.md5": cached_weights(root, f"{number} " * 500_000)},
    )  # fmt: skip
    assert int(made.version) == number
    return Path(model.artifact_location.removeprefix("file://"))


def test_prune_removes_versions_and_files_that_nothing_needs_and_nothing_else(
    client: MlflowClient, project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {n: registered_files(client, project.root, n) for n in (3, 4, 5, 6)}
    nadir("promote")
    nadir("promote", "--version", "3", "--force", "--reason", "why")
    client.set_registered_model_alias("nadir", "mine", "4")
    told = nadir("registry", "prune", "--keep", "1", "--dry-run")
    first, last = told.splitlines()
    assert first == "would remove version 5: 1.0 MB in MLflow"
    assert last.startswith("would free 1.0 MB in MLflow; 5 versions stay. `nadir clean` can then ")
    assert last.endswith("free up to 1.0 MB of DVC's cache")
    assert places[5].is_dir()

    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "delete_logged_model", killed)
        assert CliRunner().invoke(app, ["registry", "prune", "--keep", "1"]).exit_code != 0
    assert "version 5 of `nadir` is being removed" in nadir("promote", "--version", "5")
    nadir("registry", "prune", "--keep", "1")
    left = sorted(int(v.version) for v in client.search_model_versions("name = 'nadir'"))
    assert left == [1, 2, 3, 4, 6], "of the last move and its way back, an alias's, the newest"
    assert {n: place.is_dir() for n, place in places.items()} == {3: 1, 4: 1, 5: 0, 6: 1}
    assert nadir("registry", "prune", "--keep", "9").startswith("nothing to remove: all 5 ")


def test_an_approval_that_was_not_carried_out_can_be_taken_back(
    client: MlflowClient, project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_approval(project, monkeypatch)
    assert nadir("approve", "2", "--reject", "--reason", "hands") == "version 2 is rejected\n"
    assert said()[:2] == [("rejected", 2), ("approved", 2)]
    assert "waits for an approval" in nadir("promote"), "asked again, and not promoted"
    assert alias_table(client, "nadir")["champion"] == "1"


def test_prune_keeps_what_was_approved_and_only_looks_on_a_dry_run(
    client: MlflowClient, project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off_approval(project, monkeypatch)
    for number in (3, 4):
        registered_files(client, project.root, number)
    client.set_registered_model_alias("nadir", "challenger", "4")
    before = client.get_registered_model("nadir").tags
    assert "version 2" not in nadir("registry", "prune", "--keep", "1", "--dry-run")
    assert client.get_registered_model("nadir").tags == before
