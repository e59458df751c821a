"""MLflow, Prefect and DVC's remote: whether they answer, and are of a version that fits."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import sqlite3
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.doctor.finding import Check, Finding, failed, none, ok, warning
from nadir.doctor.scene import ANSWER_S, Answer, ask
from nadir.ground.secrets import masked

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nadir.doctor.scene import Scene

_MLFLOW, _PREFECT = "MLFLOW_TRACKING_URI", "PREFECT_API_URL"
_HTTP = ("http://", "https://")
_SQLITE = "sqlite:///"
_REVISION = re.compile(r"^(down_)?revision\s*(?::[^=\n]+)?=\s*[\"'](\w+)[\"']", re.MULTILINE)
_DAMAGED = "put a backup of the file in its place, or move it away: then a new one is made"


def addresses(scene: Scene) -> dict[str, str]:
    """By its name, what to ask of each server that the environment names."""
    named = {"MLflow": _named(scene, _MLFLOW), "Prefect": _named(scene, _PREFECT)}
    return {name: f"{url}/health" for name, url in named.items() if url.startswith(_HTTP)}


def _named(scene: Scene, variable: str) -> str:
    return scene.environment.get(variable, "").rstrip("/")


def _mlflow(scene: Scene) -> Finding:
    uri = _named(scene, _MLFLOW) or f"{_SQLITE}{scene.work}/mlflow/mlflow.db"
    if not uri.startswith(_HTTP):
        return _database("mlflow", uri, "mlflow/store/db_migrations/versions", upgrade=True)
    login = _mlflow_login(scene)
    version = ask(f"{uri}/version", scene, login)
    if fault := _unreached("MLflow", uri, version, _MLFLOW):
        return fault
    # The version is told to anybody; whether this login may work there is another question.
    search = ask(f"{uri}/api/2.0/mlflow/experiments/search?max_results=1", scene, login)
    if search.status in {401, 403}:
        return _refused_by_mlflow(uri, search)
    if search.status != 200:
        return failed(
            f"MLflow at {masked(uri)} answers with HTTP {search.status}: {_first(search.text)}",
            "see the server's log: its database or its store of artifacts (S3)",
        )
    return _same_version("MLflow", uri, version.text.strip(), "mlflow")


def _mlflow_login(scene: Scene) -> dict[str, str]:
    user, password, token = (
        scene.environment.get(f"MLFLOW_TRACKING_{name}")
        for name in ("USERNAME", "PASSWORD", "TOKEN")
    )
    if user and password:
        return {"Authorization": _basic(f"{user}:{password}")}
    return {"Authorization": f"Bearer {token}"} if token else {}


def _refused_by_mlflow(uri: str, answer: Answer) -> Finding:
    told = f"MLflow at {masked(uri)} refuses (HTTP {answer.status}): {_first(answer.text)}"
    if "Host header" in answer.text:
        return failed(told, "start it with --allowed-hosts naming the address it is called by")
    login = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
    return failed(told, f"set {login}, of an account that may do this")


def _prefect(scene: Scene) -> Finding:
    url = _named(scene, _PREFECT)
    if not url:
        home = scene.environment.get("PREFECT_HOME") or f"{scene.work}/prefect"
        uri = f"{_SQLITE}{Path(home).expanduser()}/prefect.db"
        return _database("prefect", uri, "prefect/server/database/_migrations/versions/sqlite")
    given = scene.environment.get("PREFECT_API_AUTH_STRING")
    key = scene.environment.get("PREFECT_API_KEY")
    login = {"Authorization": _basic(given) if given else f"Bearer {key}"} if given or key else {}
    version = ask(f"{url}/admin/version", scene, login)
    if version.status in {401, 403}:
        return failed(
            f"Prefect at {masked(url)} refuses this login (HTTP {version.status})",
            "set PREFECT_API_AUTH_STRING to the server's own, `user:password`",
        )
    if fault := _unreached("Prefect", url, version, _PREFECT):
        return fault
    return _same_version("Prefect", url, version.text.strip().strip('"'), "prefect")


def _basic(pair: str) -> str:
    return f"Basic {base64.b64encode(pair.encode()).decode()}"


def _unreached(name: str, url: str, answer: Answer, variable: str) -> Finding | None:
    where = f"{name} at {masked(url)}"
    if answer.status == 0:
        return failed(f"{where} does not answer: {answer.text}", f"start it, or `unset {variable}`")
    if answer.status in {401, 403} and name == "MLflow":
        return _refused_by_mlflow(url, answer)
    if answer.status in {502, 503, 504}:
        return failed(
            f"{where} is away: HTTP {answer.status} from what stands before it", "start it"
        )
    if answer.status != 200 or len(answer.text) > 64:
        return failed(
            f"what answers at {masked(url)} is not {name} (HTTP {answer.status})",
            f"correct {variable}, or `unset {variable}`"
            + ("; the address ends in /api" if name == "Prefect" else ""),
        )
    return None


def _same_version(name: str, url: str, theirs: str, package: str) -> Finding:
    ours = metadata.version(package)
    told = f"{name} {theirs} at {masked(url)}"
    if theirs == ours:
        return ok(told)
    return warning(
        f"{told}, and this client is {ours}; what one of them does not know is refused",
        f"run the server with {package}=={ours}",
    )


def _database(package: str, uri: str, folder: str, *, upgrade: bool = False) -> Finding:
    """The schema in a database beside the one that the installed package works with."""
    path = Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None
    if path is not None and not path.is_file():
        return none(f"{path} will be made by the first run")
    try:
        found = _revision_of(uri, path)
    except (sqlite3.DatabaseError, OSError) as error:
        return failed(f"{path} is no sound database: {error}", _DAMAGED)
    known, newest = _revisions(folder)
    told = f"{package} {metadata.version(package)}, schema {found} of {masked(uri)}"
    if found == newest:
        return ok(told)
    if found in known:
        if not upgrade:
            return ok(f"{told}; brought to {newest} by the next run")
        return failed(
            f"{told} is older than {newest}, which it needs",
            f"make a copy of the database, then `mlflow db upgrade {masked(uri)}`",
        )
    return failed(
        f"{told} is not known: a newer {package} made it",
        "work with the code that made it (`git pull && make install`), or put a backup of the "
        "database in its place",
    )


def _revision_of(uri: str, path: Path | None) -> str:
    query = "SELECT version_num FROM alembic_version"
    if path is not None:
        with contextlib.closing(
            sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        ) as database:
            return str(database.execute(query).fetchone()[0])
    import sqlalchemy

    wait = {"connect_timeout": int(ANSWER_S)} if "://" in uri and "sqlite" not in uri else {}
    engine = sqlalchemy.create_engine(uri, connect_args=wait)
    with engine.connect() as connection:
        return str(connection.execute(sqlalchemy.text(query)).scalar())


def _revisions(folder: str) -> tuple[set[str], str]:
    """The revisions that a package knows, and the one that no other follows."""
    package, _, inside = folder.partition("/")
    spec = find_spec(package)  # found, not imported
    places = (spec.submodule_search_locations if spec else None) or []
    known: set[str] = set()
    before: set[str] = set()
    for place in places:
        for down, revision in _pairs(Path(place) / inside):
            (before if down else known).add(revision)
    if not known:
        raise ModuleNotFoundError(f"No module named '{package}' with its migrations")
    return known, min(known - before)


def _pairs(folder: Path) -> Iterator[tuple[str, str]]:
    for path in folder.glob("*.py"):
        yield from _REVISION.findall(path.read_text(encoding="utf-8"))


def _remote(scene: Scene) -> Finding:
    """By a file that goes there and comes back, in a process that may be given up."""
    # One attempt: a store that comes and goes is a fault to be told.
    probe = [sys.executable, "-m", "nadir.pipeline.storage.probe"]
    done = scene.run(probe, AWS_MAX_ATTEMPTS="1")
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
        return failed(f"DVC cannot tell its remote: {last}", "see the checks `dvc` and `packages`")
    answer = json.loads(lines[-1])
    if answer["name"] is None:
        return none("no default remote; weights stay in this clone (`dvc remote add --default`)")
    where = f"remote {answer['name']} ({answer['url']})"
    if answer["fault"]:
        return failed(
            f"{where}: {answer['fault']}",
            "see that it is up, that its bucket or folder is there, and that "
            "AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are its own; "
            f"`dvc remote modify {answer['name']} url …` corrects the address",
        )
    return ok(f"{where} took {answer['bytes']} bytes and gave the same back")


def _first(text: str) -> str:
    return (text.strip().splitlines() or ["no reason given"])[0][:200]


SERVERS = (
    Check("mlflow", "servers", _mlflow),
    Check("prefect", "servers", _prefect),
    Check("dvc-remote", "servers", _remote),
)
