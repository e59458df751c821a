"""Registration and promotion, killed before every step and on two machines at once: one version.

On the embedded store and on an MLflow server with Postgres.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from bench.results import ROOT, table, write_section
from mlflow import MlflowClient
from tests.mini.project import MiniProject, trained_template
from tests.mini.weights import cached_weights, judged_better
from tests.support import faults
from tests.support.postgres import PASSWORD, postgres, query
from tests.support.servers import free_port, running

from nadir.data.gate.accepted_profile import read_reference
from nadir.ground.errors import NadirError
from nadir.pipeline.promoting.approving import answer, consider
from nadir.pipeline.promoting.operation import promote_and_draw
from nadir.pipeline.promotion import promote
from nadir.pipeline.registering import Registering
from nadir.tracking.lineage import FINGERPRINT_TAG, OUTPUT_TAG
from nadir.tracking.registry.move_log import read_log
from nadir.tracking.registry.promoting.decisions import read_decisions
from nadir.tracking.registry.versions import PENDING_TAG, alias_table, only_version
from nadir.tracking.store import lock
from nadir.tracking.store.connection import connect, experiment_id

__all__ = ["postgres"]
PAGE = ROOT / "docs/results/exactly_once.md"
HEAD = """\
# Registration and promotion, killed before every step

`make evidence` kills the process (SIGKILL) before each step by which it changes the registry, the
run or the workspace, gives the same command again, and compares versions, aliases, log, tickets of
the lock and the accepted dataset with those of a registration or promotion that nothing disturbed.
A kill after a step is the kill before the next. New in each: model, experiment, run.
"""
PROFILE = {"images": 7, "tags": {"solo": 1.0}, "sizes": {}, "luminance": {}}


def register() -> str:
    """As the pipeline does it, judged at the end; returns what it tells."""
    registering = Registering(Path.cwd(), "")
    registering.register(print)
    return "\n".join(registering.told())


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """Address of an MLflow server with Postgres behind it."""
    port = request.getfixturevalue("postgres")
    query(port, "CREATE DATABASE mlflow", "postgres")
    folder, own = tmp_path_factory.mktemp("mlflow"), free_port()
    store = f"postgresql+psycopg2://nadir:{PASSWORD}@127.0.0.1:{port}/mlflow"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(own),
               "--workers", "1", "--artifacts-destination", str(folder / "artifacts"),
               "--backend-store-uri", store]  # fmt: skip
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
    environment["MLFLOW_DISABLE_TELEMETRY"] = "true"
    environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"
    url = f"http://127.0.0.1:{own}"
    with running(command, f"{url}/health", log=folder / "log", environment=environment):
        yield url


@dataclass
class Place:
    """A trained project and the store it registers in; every model in it is another."""

    project: MiniProject
    uri: str | None
    models: int = 0

    @property
    def root(self) -> Path:
        return self.project.root

    def another_model(self) -> str:
        """Name another model and another experiment, so that nothing is registered yet."""
        path = self.root / "params.yaml"
        text, old, self.models = path.read_text(), self.model, self.models + 1
        text = text.replace(f"model_name: {old}", f"model_name: {self.model}")
        path.write_text(text.replace(f"experiment: {old}", f"experiment: {self.model}"))
        return self.model

    @property
    def model(self) -> str:
        return f"nadir{self.models or ''}"


@pytest.fixture(scope="module", params=["embedded", "server"])
def place(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    uri = None if request.param == "embedded" else request.getfixturevalue("server")
    root = tmp_path_factory.mktemp("place") / "project"
    shutil.copytree(trained_template(), root)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        if uri is not None:
            patch.setenv("MLFLOW_TRACKING_URI", uri)
        patch.chdir(root)
        yield Place(MiniProject(root), uri)


def record(place: Place, action: str, seen: list[str]) -> None:
    """Write the steps that were killed before into the page."""
    counted = {step: seen.count(step) for step in dict.fromkeys(seen)}
    rows = [[f"`{step}`", f"{number}", "as without a kill"] for step, number in counted.items()]
    where = "embedded (SQLite)" if place.uri is None else "MLflow server, Postgres"
    body = table(["killed before each", "times", "after the same command again"], rows)
    write_section(PAGE, HEAD, f"{action}, {where}", body, command="make evidence")


def versions(client: MlflowClient, name: str) -> list[int]:
    return sorted(int(v.version) for v in client.search_model_versions(f"name = '{name}'"))


ALIASES = {"challenger": "1", "champion": "1"}


def check_registered(client: MlflowClient, name: str, why: object) -> None:
    assert versions(client, name) == [1], why
    assert alias_table(client, name) == ALIASES, why
    assert not {PENDING_TAG} & client.get_model_version(name, "1").tags.keys(), why
    log = read_log(client, name)
    assert [(move.how, move.state) for move in log.moves] == [("first", "done")], why
    assert (log.fault, log.unended) == ("", frozenset()), why
    assert versions(client, f"{name}.lock") == [], why


def killed_before(place: Place, number: int, action: Any) -> bool:
    """Kill an action before a step, in a process of its own; whether it came so far."""
    child = faults.start(place.root, place.uri, faults.Fault(kill_before=number), action)
    child.join()
    assert child.exitcode in (0, -9), child.exitcode
    return bool(child.exitcode)


def kill_everywhere(
    place: Place, begin: Callable[[], str], action: Any, check: Callable[..., None], every: int
) -> list[str]:
    """Kill before each step (or each of so many), repeat, and check; returns the steps."""
    client, number = connect(place.root), every - 1
    while True:
        name = begin()
        hit = killed_before(place, number, action)
        seen = faults.steps(place.root)
        if not hit:
            assert not faults.outcome(place.root).startswith("error"), faults.outcome(place.root)
            check(client, name, "never killed")
            return seen
        action()
        check(client, name, seen)
        number += every


def begin_registration(place: Place) -> str:
    return place.another_model()


def begin_promotion(place: Place) -> str:
    """Version 1 is live, version 2 was judged better, version 3 was not judged."""
    (place.root / "reference/dataset.json").unlink(missing_ok=True)
    client, name = connect(place.root), place.another_model()
    run = client.create_run(experiment_id(client, place.root), tags={"nadir.gate": "promote"})
    client.log_text(run.info.run_id, json.dumps(PROFILE), "profile.json")
    client.create_registered_model(name)
    for number in (1, 2, 3):
        tags = {OUTPUT_TAG: cached_weights(place.root, str(number))}
        made = client.create_model_version(name, "nadir:///none", run.info.run_id, tags=tags)
        assert int(made.version) == number
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "challenger", "2")
    judged_better(client, 2, name=name)
    return name


def check_promoted(client: MlflowClient, name: str, why: object) -> None:
    assert alias_table(client, name) == {"champion": "2", "previous": "1"}, why
    log = read_log(client, name)
    assert [(m.how, m.versions, m.state) for m in log.moves] == [("promote", ("1", "2"), "done")]
    assert (log.fault, log.unended) == ("", frozenset()), why
    said = read_decisions(client, name)
    assert [(one.what, one.version) for one in said] == [("approved", 2), ("asked", 2)], why
    assert read_reference(Path.cwd()) == PROFILE, why
    assert versions(client, f"{name}.lock") == [], why


def approve_challenger() -> str:
    """Ask for an approval, give it, promote."""
    found = consider(Path.cwd(), version=2, policy="approve")
    if found.request is not None:
        answer(Path.cwd(), found.request, approve=True, reason="yes")
    return promote_and_draw(Path.cwd(), version=2, say=print).text


def promote_one(number: int) -> str:
    done = promote(version=number)
    return f"{done.champion} {done.previous} {done.changed}"


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.evidence), 7], ids=["all", "some"]
)
def test_a_registration_that_is_killed_before_a_step_ends_with_one_version(
    place: Place, every: int
) -> None:
    seen = kill_everywhere(
        place, lambda: begin_registration(place), register, check_registered, every
    )
    assert {"create_run", "create_logged_model", "create_model_version", "save_experiment"} <= {
        *seen
    }
    if every == 1:
        record(place, "register", seen)


@pytest.mark.parametrize(
    "every", [pytest.param(1, marks=pytest.mark.evidence), 3], ids=["all", "some"]
)
def test_a_promotion_that_is_killed_before_a_step_is_completed_by_the_next(
    place: Place, every: int
) -> None:
    seen = kill_everywhere(
        place, lambda: begin_promotion(place), approve_challenger, check_promoted, every
    )
    assert "delete_registered_model_alias" in seen
    if every == 1:
        record(place, "ask, approve, promote", seen)


def another_machine(place: Place, tmp_path: Path) -> Path:
    """A second clone, which shares the store and nothing else."""
    clone = tmp_path / "clone"
    shutil.copytree(place.root, clone, ignore=shutil.ignore_patterns("mlflow"))
    return clone


def at_once(place: Place, tmp_path: Path, step: str, *actions: Any) -> list[str]:
    """Actions on machines of their own, which all come to a step if nothing keeps them apart."""
    roots = [place.root, another_machine(place, tmp_path)]
    (tmp_path / "meeting").mkdir()
    fault = faults.Fault(meet_at=step, meeting=str(tmp_path / "meeting"))
    uri = connect(place.root).tracking_uri
    started = [
        faults.start(root, uri, fault, *action) for root, action in zip(roots, actions, strict=True)
    ]
    for child in started:
        child.join()
        assert child.exitcode == 0
    return [faults.outcome(root) for root in roots]


def test_two_machines_that_register_one_checkpoint_at_once_make_one_version(
    place: Place, tmp_path: Path
) -> None:
    name = place.another_model()
    told = at_once(place, tmp_path, "create_logged_model", (register,), (register,))
    check_registered(connect(place.root), name, told)
    assert sorted(line.split()[1] for line in told) == ["already", "registered"]


def test_of_two_promotions_at_once_one_wins_and_each_is_told_its_own_result(
    place: Place, tmp_path: Path
) -> None:
    client, name = connect(place.root), begin_promotion(place)
    judged_better(client, 3, name=name)
    told = at_once(place, tmp_path, "set_registered_model_tag", (promote_one, 2), (promote_one, 3))
    champion = alias_table(client, name)["champion"]
    won, lost = told if champion == "2" else reversed(told)
    assert won == f"{champion} 1 True"
    assert f"was judged against version 1, and the champion is version {champion}" in lost
    assert alias_table(client, name)["previous"] == "1"
    assert [move.versions for move in read_log(client, name).moves] == [("1", champion)]


def test_a_machine_that_gives_no_sign_loses_the_lock_and_is_told_before_it_writes(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    if place.uri is None:
        pytest.skip("the kernel drops the lock of an SQLite file with its holder")
    client, name = connect(place.root), place.another_model()
    with monkeypatch.context() as patch:
        patch.setattr(lock, "_machine", lambda: "elsewhere")
        asleep = lock.Ticket(client, name)
    asleep.wait()
    asleep.check()
    asleep._ended.set()
    monkeypatch.setattr(lock, "EXPIRY_S", 0.5)
    with lock.registry_lock(client, name) as held:
        held.check()
        with pytest.raises(NadirError, match=r"the lock of .* was taken away"):
            asleep.check()
        assert versions(client, f"{name}.lock") == [2], "a number never comes again"
    asleep.wait()
    assert asleep.number == 3, "it stands in line again"
    asleep.give_back()
    assert versions(client, f"{name}.lock") == []
    model = client.get_registered_model(f"{name}.lock")
    assert model.description.startswith("Nobody's model: whoever registers or promotes")


def test_of_duplicates_all_choose_the_first_and_the_others_go(place: Place) -> None:
    client, name = connect(place.root), place.another_model()
    client.create_registered_model(name)
    tags = {OUTPUT_TAG: "a", FINGERPRINT_TAG: "b", PENDING_TAG: "true"}
    for _ in range(3):
        client.create_model_version(name, "nadir:///none", tags=tags)
    for _ in range(2):
        chosen = only_version(client, name, md5="a", fingerprint="b")
        assert chosen is not None
        assert (chosen.version, versions(client, name)) == (1, [1])
    client.delete_model_version_tag(name, "1", PENDING_TAG)
    client.create_model_version(name, "nadir:///none", tags=tags)
    chosen = only_version(client, name, md5="a", fingerprint="b")
    assert chosen is not None
    assert (chosen.version, versions(client, name)) == (1, [1])
