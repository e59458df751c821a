"""A store that refuses a call or goes away has said nothing: no alias, run or version moves."""

from __future__ import annotations

import functools
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from mlflow import MlflowClient
from tests.mini.project import MiniProject
from tests.mini.weights import cached_weights, judged_better
from tests.support.servers import OF_LOCK, Proxy, mlflow_server, proxy_before, quick_folder

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.ground.run_record import read_run
from nadir.ground.workspace import project_root
from nadir.pipeline.fingerprint import entry_fingerprint
from nadir.pipeline.promotion import promote, rollback
from nadir.pipeline.status import read_status
from nadir.tracking.lineage import OUTPUT_TAG
from nadir.tracking.lock_file import read_lock
from nadir.tracking.registry.move_log import read_log
from nadir.tracking.registry.registration import register
from nadir.tracking.registry.versions import alias_table, model_name, resolve_version
from nadir.tracking.runs.training_run import open_run
from nadir.tracking.store.connection import experiment_id
from nadir.tracking.version_files.held import holds_weights
from nadir.training.run_files import RUN

# What a proxy, a rights management and a server under repair say, and an answer that got lost.
ANSWERS = [
    (403, b'{"error_code": "PERMISSION_DENIED", "message": "no"}'),
    (503, b"<html>come back later</html>"),
    (500, b'{"error_code": "INTERNAL_ERROR", "message": "oh"}'),
    (404, b"<html>no such page</html>"),
    (401, b'{"error_code": "UNAUTHENTICATED", "message": "who?"}'),
    (200, b"<html>please sign in</html>"),
    (0, b""),
]
# MLflow's own word for an alias that does not exist, and for much else.
UNCLEAR = [(400, b'{"error_code": "INVALID_PARAMETER_VALUE", "message": "what?"}')]


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    with (
        quick_folder() as folder,
        mlflow_server(folder) as server,
        proxy_before(server) as made,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield made


@pytest.fixture
def client(proxy: Proxy, trained: MiniProject, monkeypatch: pytest.MonkeyPatch) -> MlflowClient:
    """Of the server behind the proxy, which the project's store is from now on."""
    proxy.watch()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", proxy.url)
    return MlflowClient(proxy.url, proxy.url)


def named(project: MiniProject, name: str) -> str:
    """Let the project register under a new name, so that no test sees another's versions.

    Pointers, which take a tenth of the calls of a copy.
    """
    text = (project.root / "params.yaml").read_text(encoding="utf-8")
    if "weights: auto" in text:
        project.set("weights: auto", "weights: pointer")
    project.set(f"model_name: {model_name(project.root)}", f"model_name: {name}")
    return name


def add_version(client: MlflowClient, name: str, verdict: str = "promote") -> str:
    run = client.create_run(experiment_id(client), tags={"nadir.gate": verdict})
    profile = {"images": 7, "tags": {"solo": 1.0}, "sizes": {}, "luminance": {}}
    client.log_text(run.info.run_id, json.dumps(profile), "profile.json")
    tags = {OUTPUT_TAG: cached_weights(project_root(), run.info.run_id)}
    source, run_id = run.info.artifact_uri, run.info.run_id
    return str(client.create_model_version(name, source, run_id, tags=tags).version)


def three_versions(client: MlflowClient, name: str) -> dict[str, str]:
    """Version 2 is live, 1 was before and 3 wants to be."""
    client.create_registered_model(name)
    for alias in ("previous", "champion", "challenger"):
        client.set_registered_model_alias(name, alias, add_version(client, name))
    judged_better(client, 3, name=name)
    return {"previous": "1", "champion": "2", "challenger": "3"}


def empty_lock(proxy: Proxy, call: str) -> None:
    """Take away the tickets that nobody could give back."""
    client = MlflowClient(proxy.url, proxy.url)
    tickets = [one for one in client.search_model_versions() if one.name.endswith(".lock")]
    assert tickets or "GET" not in call, f"{call} failed and left nothing"
    for one in tickets:
        client.delete_model_version(one.name, one.version)


def failures(
    proxy: Proxy,
    action: Callable[[], Any],
    answers: list[tuple[int, bytes]] = ANSWERS,
    prepare: Callable[[], None] = lambda: None,
    take_back: Callable[[], None] | None = None,
    numbers: Iterable[int] | None = None,
) -> Iterator[str]:
    """Fail each call that the action makes in turn; each time it must end in one clear error.

    `numbers` are the calls to fail, in place of all. `prepare` makes what an attempt starts from,
    where one that got further would shorten the next. With `take_back`, a call may fail that MLflow
    asks on its own account and can do without: the action then is taken back.
    """
    for number in itertools.count() if numbers is None else numbers:
        answer = answers[number % len(answers)]
        prepare()
        proxy.watch(number, answer)
        fault = None
        try:
            action()
        except NadirError as error:
            fault = error
        calls = list(proxy.calls)
        proxy.watch()
        if fault is not None:
            assert "MLflow store" in str(fault) or "somebody else" in str(fault), str(fault)
            assert fault.where.startswith(proxy.url)
            yield f"{calls[number]} answered {answer[0]}"
        elif len(calls) <= number:
            return
        else:
            # Who is done leaves the lock, and need not hear whether the store has noticed: others
            # see that its ticket is not renewed.
            leaving = calls[number].endswith(OF_LOCK)
            assert leaving or take_back is not None, f"{calls[number]} failed and nobody saw it"
            if leaving:
                empty_lock(proxy, calls[number])
            if take_back is not None:
                take_back()


def test_a_promotion_or_rollback_that_any_call_fails_moves_no_alias(
    proxy: Proxy, client: MlflowClient, trained: MiniProject
) -> None:
    name = named(trained, "moving")
    before = three_versions(client, name)
    reference = trained.root / "reference/dataset.json"
    seen = []

    def take_back() -> None:
        for alias in ("previous", "champion", "challenger"):
            client.set_registered_model_alias(name, alias, before[alias])
        reference.unlink()
        for move in read_log(client, name).moves:
            client.delete_registered_model_tag(name, move.key)

    for failed in failures(proxy, promote, take_back=take_back):
        assert alias_table(client, name) == before, failed
        assert not reference.exists(), failed
        assert {move.state for move in read_log(client, name).moves} <= {"not moved"}, failed
        seen.append(failed)
    assert len(seen) >= 9, seen
    assert alias_table(client, name) == {"previous": "2", "champion": "3"}
    before = alias_table(client, name)
    moves = {move.key for move in read_log(client, name).moves}
    seen = []

    def forth() -> None:
        for alias, version in before.items():
            client.set_registered_model_alias(name, alias, version)
        client.delete_registered_model_alias(name, "challenger")
        for move in read_log(client, name).moves:
            if move.key not in moves:
                client.delete_registered_model_tag(name, move.key)

    for failed in failures(proxy, rollback, take_back=forth):
        assert alias_table(client, name) == before, failed
        seen.append(failed)
    assert len(seen) >= 5, seen
    assert alias_table(client, name) == {"previous": "3", "champion": "2", "challenger": "3"}


def crowned(client: MlflowClient, name: str, run_id: str) -> None:
    """A model whose only version is live."""
    source = client.get_run(run_id).info.artifact_uri
    client.create_registered_model(name)
    client.create_model_version(name, source, run_id)
    client.set_registered_model_alias(name, "champion", "1")


def worth_failing(calls: list[str], *, all_of_them: bool) -> list[int]:
    """Every call about the model, and with `all_of_them` one of each other kind."""
    own = [(n, call) for n, call in enumerate(calls) if not call.endswith(OF_LOCK)]
    registry = [n for n, call in own if "registered-models" in call]
    kinds = {re.sub(r"/artifacts/.*", "", call): number for number, call in own}
    return sorted({*registry, *(kinds.values() if all_of_them else ())})


@pytest.mark.parametrize("has_champion", [True, False])
def test_a_registration_that_any_call_fails_crowns_nobody_and_is_made_good_by_the_next(
    proxy: Proxy, client: MlflowClient, trained: MiniProject, *, has_champion: bool
) -> None:
    fingerprint = entry_fingerprint(read_lock(trained.root)["train"])
    names = (f"new-{has_champion}-{number}" for number in itertools.count())
    name = named(trained, next(names))
    # Its run and evaluation are there from now on, so that every attempt makes the same calls.
    run_id = register(trained.root, fingerprint=fingerprint).version.run_id

    def prepare() -> None:
        nonlocal name
        name = named(trained, next(names))
        if has_champion:
            crowned(client, name, run_id)

    def registering() -> Any:
        return register(trained.root, fingerprint=fingerprint)

    number, live = ("2", "1") if has_champion else ("1", "1")
    prepare()
    proxy.watch()
    registering()
    numbers = worth_failing(proxy.calls, all_of_them=has_champion)
    seen = []
    for failed in failures(proxy, registering, prepare=prepare, numbers=numbers):
        seen.append(failed)
        aliases = alias_table(client, name)
        assert aliases.get("champion") in ({"1"} if has_champion else {None, "1"}), failed
        assert registering().version.version == int(number), failed
        assert alias_table(client, name) == {"champion": live, "challenger": number}, failed
        assert len(client.search_model_versions(f"name = '{name}'")) == int(number), failed
    assert len(seen) == len(numbers)
    assert sum("registered-models/get " in call for call in seen) >= 3, seen
    runs = client.search_runs([experiment_id(client)], "tags.`nadir.kind` = 'restored'")
    assert {run.info.run_id for run in runs} == {run_id}, "no second run for one training"


def test_a_copy_that_any_kind_of_call_fails_is_no_version_until_all_of_it_is_there(
    proxy: Proxy, client: MlflowClient, trained: MiniProject
) -> None:
    fingerprint = entry_fingerprint(read_lock(trained.root)["train"])
    names = (f"copy-{number}" for number in itertools.count())

    def prepare() -> None:
        named(trained, next(names))
        text = (trained.root / "params.yaml").read_text(encoding="utf-8")
        if "weights: pointer" in text:
            trained.set("weights: pointer", "weights: copy")

    def registering() -> Any:
        return register(trained.root, fingerprint=fingerprint)

    prepare()
    registering()
    prepare()
    proxy.watch()
    registering()
    made = next(n for n, call in enumerate(proxy.calls) if call.endswith("model-versions/create"))
    before = enumerate(proxy.calls[:made])
    kinds = {re.sub(r"(m-|artifacts/).*", "", call): n for n, call in before}
    numbers = sorted(n for call, n in kinds.items() if "logged-models" in call or "PUT" in call)
    seen = []
    for failed in failures(proxy, registering, prepare=prepare, numbers=numbers):
        seen.append(failed)
        name = model_name(trained.root)
        if "PATCH" not in failed:
            assert client.search_model_versions(f"name = '{name}'") == [], failed
        version = registering().version
        assert version.held == "checkpoint"
        assert holds_weights(version.model_id, trained.root), failed
    assert len(seen) == len(numbers) >= 4, seen


def test_publishing_an_evaluation_that_any_call_fails_is_made_good_by_the_next(
    proxy: Proxy, client: MlflowClient, trained: MiniProject
) -> None:
    name = named(trained, "first")
    fingerprint = entry_fingerprint(read_lock(trained.root)["train"])
    for _failed in failures(proxy, lambda: register(trained.root, fingerprint=fingerprint)):
        pass
    assert alias_table(client, name) == {"champion": "1", "challenger": "1"}
    version = resolve_version(f"models:/{name}@champion", trained.root)
    kept = {file.path for file in client.list_artifacts(version.run_id)}
    assert {"evaluation.html", "evaluation.json", "samples"} <= kept


def test_a_training_run_is_taken_up_again_or_not_touched_and_no_second_one_is_made(
    proxy: Proxy, client: MlflowClient, trained: MiniProject
) -> None:
    work = trained.root / "work/training/abc"
    run_id = open_run(work, "abc", trained.root)["NADIR_TRAINING_RUN"]
    for failed in failures(proxy, lambda: open_run(work, "abc", trained.root)):
        assert read_run(work / RUN).run_id == run_id, failed
    assert open_run(work, "abc", trained.root)["NADIR_TRAINING_RUN"] == run_id


def test_a_look_up_that_fails_is_not_a_model_that_is_missing(
    proxy: Proxy, client: MlflowClient, trained: MiniProject
) -> None:
    name = named(trained, "asking")
    three_versions(client, name)
    for uri in (f"models:/{name}@champion", f"models:/{name}/2"):
        for answers in (ANSWERS, UNCLEAR):
            asked = functools.partial(resolve_version, uri, trained.root)
            assert len(list(failures(proxy, asked, answers))) == (4 if "@" in uri else 3)
        assert resolve_version(uri, trained.root).version == 2
    client.delete_model_version(name, "2")
    for uri in (f"models:/{name}@champion", f"models:/{name}/2", "models:/nobody@champion"):
        with pytest.raises(NadirError, match="the registry has no"):
            resolve_version(uri, trained.root)


def test_the_status_says_unknown_and_not_none_of_a_registry_that_does_not_answer(
    proxy: Proxy, client: MlflowClient, trained: MiniProject
) -> None:
    name = named(trained, "shown")
    three_versions(client, name)
    proxy.watch()
    assert read_status(trained.root)["model"]["version"] == 3
    for number in range(len(proxy.calls)):
        proxy.watch(number, ANSWERS[number % len(ANSWERS)])
        model = read_status(trained.root)["model"]
        assert "MLflow store" in model["error"], proxy.calls
        assert model["current"] is None


def test_an_answer_about_nothing_is_not_a_model_without_aliases(
    proxy: Proxy, client: MlflowClient, trained: MiniProject
) -> None:
    name = named(trained, "blank")
    three_versions(client, name)
    proxy.watch(0, (200, b""))
    with pytest.raises(NadirError, match="was asked about the model `blank` and answered about"):
        alias_table(client, name)


def test_a_champion_that_was_deleted_is_followed_by_whom_somebody_names(
    client: MlflowClient, trained: MiniProject
) -> None:
    name = named(trained, "deleted")
    three_versions(client, name)
    client.delete_model_version(name, "2")
    register(trained.root, fingerprint=entry_fingerprint(read_lock(trained.root)["train"]))
    assert read_json(trained.root / "reports/evaluation.json")["gate"]["verdict"] == "promote"
    assert alias_table(client, name) == {"previous": "1", "challenger": "4"}
    done = rollback(trained.root)
    assert (done.champion, done.previous) == (1, None)
    assert alias_table(client, name) == {"champion": "1", "challenger": "4"}
