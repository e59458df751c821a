"""The log of promotions: one entry for each move, whatever is killed, seen from other clones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tests.mini.project import MiniProject
from tests.mini.weights import add_version, cached_weights, judged_better
from typer.testing import CliRunner

from nadir.cli import app
from nadir.ground.secrets import MASK
from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.pipeline.promotion import promote, rollback
from nadir.tracking.lock_file import read_lock
from nadir.tracking.registry import move_log
from nadir.tracking.registry.move_log import PREFIX, read_log
from nadir.tracking.registry.registration import register
from nadir.tracking.registry.versions import alias_table
from nadir.tracking.store.connection import connect


@pytest.fixture
def client(project: MiniProject) -> MlflowClient:
    return connect(project.root)


def two_versions(client: MlflowClient) -> None:
    """Version 1 is live, version 2 was judged better."""
    add_version(client, Path())
    promote()
    judged_better(client, add_version(client, Path()))


def told(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["registry", "log", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def moves() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(told("--json"))["moves"]
    return found


def test_every_move_leaves_who_when_from_to_verdict_and_reason(
    client: MlflowClient, project: MiniProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setenv("DB_PASSWORD", "hunter2hunter2")
    assert "no version was made live" in told()
    two_versions(client)
    promote(flow_run_id="f-1")
    rollback()
    promote(version=2, force_reason="the customer likes hunter2hunter2 – ä")
    promote(version=2)
    found = moves()
    assert [(m["how"], m["from"], m["to"]) for m in found] == [
        ("forced", "1", "2"),
        ("back", "2", "1"),
        ("promote", "1", "2"),
        ("promote", None, "1"),
    ]
    assert [m["number"] for m in found] == [4, 3, 2, 1]
    assert {(m["user"], m["state"], m["ended"]) for m in found} == {("alice", "done", True)}
    assert found[0]["reason"] == f"the customer likes {MASK} – ä"
    assert (found[2]["verdict"], found[2]["flow_run"]) == ("promote", "f-1")
    assert found[0]["at"].endswith("+00:00")
    assert "forced 1 -> 2  alice@" in told()
    # Another clone with the same store reads the same log.
    monkeypatch.setenv("MLFLOW_TRACKING_URI", client.tracking_uri)
    shutil.copytree(project.root, tmp_path / "clone", ignore=shutil.ignore_patterns("work"))
    monkeypatch.chdir(tmp_path / "clone")
    assert moves() == found


def test_the_first_registration_that_passes_the_gate_is_in_the_log(trained: MiniProject) -> None:
    fingerprint = entry_fingerprint(read_lock(trained.root)["train"])
    for _ in range(2):
        register(trained.root, fingerprint=fingerprint, flow_run_id="f-2")
    (move,) = moves()
    assert (move["how"], move["from"], move["to"]) == ("first", None, "1")
    assert (move["flow_run"], move["verdict"]) == ("f-2", "promote")


CALLS = ["set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias"]


def killed_at(monkeypatch: pytest.MonkeyPatch, number: int, action: Any) -> bool:
    """Kill an action at one of the calls by which it writes; whether it got so far."""
    seen = 0
    with monkeypatch.context() as patch:
        for name in CALLS:
            real = getattr(MlflowClient, name)

            def call(*arguments: Any, real: Any = real) -> None:
                nonlocal seen
                seen += 1
                if seen > number:
                    raise KeyboardInterrupt
                real(*arguments)

            patch.setattr(MlflowClient, name, call)
        try:
            action()
        except KeyboardInterrupt:
            return True
    return False


@pytest.mark.parametrize("action", [promote, rollback])
def test_a_kill_between_any_two_steps_is_seen_and_the_next_completes_the_one_entry(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch, action: Any
) -> None:
    two_versions(client)
    old, new, how = "1", "2", "promote"
    if action is rollback:
        promote()
        old, new, how = "2", "1", "back"
    before, tags = alias_table(client, "nadir"), dict(read_tags(client))
    seen = []
    for number in range(20):
        restore(client, before, tags)
        if not killed_at(monkeypatch, number, action):
            break
        last = moves()[0]
        seen.append(last["state"] if len(read_tags(client)) > len(tags) else "nothing")
        live = alias_table(client, "nadir")["champion"]
        assert (live == new) == (seen[-1] == "done")
        if live == old or action is rollback:
            action()
        else:
            promote(version=2)
        wanted = {"champion": new, "previous": old}
        wanted |= {"challenger": old} if action is rollback else {}
        assert alias_table(client, "nadir") == wanted
        log = read_log(client, "nadir")
        assert (log.fault, log.unended) == ("", frozenset())
        assert len(log.moves) == len(tags) + 1
        assert (log.moves[0].how, log.moves[0].versions) == (how, (old, new))
        assert log.moves[0].before == {k: v for k, v in before.items() if k != "challenger"}
    assert seen[:3] == ["nothing", "not moved", "half moved"]
    assert set(seen[3:]) == {"done"}


def read_tags(client: MlflowClient) -> dict[str, str]:
    tags = client.get_registered_model("nadir").tags
    return {key: value for key, value in tags.items() if key.startswith(PREFIX)}


def restore(client: MlflowClient, aliases: dict[str, str], tags: dict[str, str]) -> None:
    for alias in alias_table(client, "nadir").keys() - aliases.keys():
        client.delete_registered_model_alias("nadir", alias)
    for alias, version in aliases.items():
        client.set_registered_model_alias("nadir", alias, version)
    for key in read_tags(client).keys() - tags.keys():
        client.delete_registered_model_tag("nadir", key)


def test_the_log_is_bounded_and_says_what_others_did_to_it(
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(move_log, "KEPT", 3)
    two_versions(client)
    promote()
    for _ in range(2):
        rollback()
    promote(version=1, force_reason="\x1b[2J\nwhy " + '"' * 9000)
    assert [move["number"] for move in moves()] == [5, 4, 3]
    assert moves()[0]["reason"].startswith('[2J why "')
    assert max(map(len, read_tags(client).values())) < 4000, "a database's column holds 5000"
    client.set_registered_model_tag("nadir", f"{PREFIX}000009.x", "[1]")
    client.set_registered_model_alias("nadir", "champion", "2")
    assert "000009.x cannot be read" in told()
    assert (
        "warning: the log's last move made version 1 live, and the champion is version 2" in told()
    )


def test_versions_are_listed_with_what_decides_and_shown_in_full(
    client: MlflowClient, project: MiniProject
) -> None:
    two_versions(client)
    run_id = client.get_model_version("nadir", "2").run_id
    client.log_metric(run_id, "x0_mse", 0.25)
    client.set_model_version_tag("nadir", "1", "nadir.weights_at", "s3://bucket")
    shutil.rmtree(project.root / ".dvc/cache/files/md5")
    cached_weights(project.root, run_id)

    def command(*arguments: str) -> str:
        result = CliRunner().invoke(app, ["registry", *arguments], catch_exceptions=False)
        assert result.exit_code == 0
        return result.stdout

    new, old = json.loads(command("list", "--json"))
    assert (new["version"], new["aliases"], new["judged"]) == (2, ["challenger"], "promote")
    assert (new["against"], new["metric"], new["value"]) == ("1", "x0_mse", 0.25)
    assert (new["weights"], old["weights"], old["value"]) == ("here", "s3://bucket", None)
    head, first, *others = command("list", "--last", "1").splitlines()
    assert head.split()[:2] == ["version", "created"]
    assert "promote beside 1  x0_mse 0.25  here     challenger" in first
    assert not others
    shown = json.loads(command("show", "champion", "--json"))
    assert (shown["version"], shown["weights"]) == (1, "missing")
    assert [(m["how"], m["from"], m["to"]) for m in shown["moves"]] == [("promote", None, "1")]
    assert shown["tags"]["nadir.weights_at"] == "s3://bucket"
    assert "metric: x0_mse\nvalue: 0.25\n" in command("show", "2")
