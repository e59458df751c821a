"""What `make stack` reads from docker-compose.yml, and what it says when it cannot start."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from nadir.ground.errors import NadirError
from nadir.pipeline.servers.stack import objects
from nadir.pipeline.servers.stack.__main__ import main
from nadir.pipeline.servers.stack.native import PORTS, Native, free_port
from nadir.pipeline.servers.stack.postgres import make_cluster, wait_for_the_last
from nadir.pipeline.servers.stack.running import _Pause
from nadir.pipeline.servers.stack.settings import (
    interpolated,
    read_services,
    read_variables,
    with_needs,
)

NAMES = (
    "POSTGRES_PASSWORD",
    "S3_ACCESS_KEY",
    "S3_SECRET_KEY",
    "MLFLOW_ADMIN_PASSWORD",
    "MLFLOW_SECRET_KEY",
    "PREFECT_PASSWORD",
)
SECRETS = {name: f"planted-as-{name.lower()}" for name in NAMES}


def write_secrets(path: Path, values: dict[str, str] = SECRETS) -> None:
    path.write_text("".join(f"{k}={v}\n" for k, v in values.items()), encoding="utf-8")


@pytest.fixture
def project(root: Path, tmp_path: Path) -> Path:
    """A folder with what the stack reads."""
    for name in ("docker-compose.yml", "params.yaml", "dvc.yaml"):
        shutil.copy(root / name, tmp_path)
    shutil.copytree(root / "mlflow", tmp_path / "mlflow")
    write_secrets(tmp_path / ".env")
    return tmp_path


@pytest.fixture
def refused(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """What a start with these arguments says that fails."""
    monkeypatch.chdir(project)

    def start(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["stack", *arguments])
        with pytest.raises(SystemExit) as found:
            main()
        told = str(found.value)
        assert told.count("fix:") == 1
        return told

    return start


def test_variables_are_put_in_as_compose_does() -> None:
    values = {"A": "one", "EMPTY": ""}
    text = "${A} $$HOME ${EMPTY:-two} ${NONE:-} ${NONE}"
    assert interpolated(text, values) == "one $HOME two  "
    for name in ("NONE", "EMPTY"):
        with pytest.raises(NadirError, match=f"{name} has no value"):
            interpolated(f"${{{name}:?run make secrets}}", values)


def test_no_service_keeps_an_address_or_a_place_of_a_container(root: Path, tmp_path: Path) -> None:
    ports = {name: port + 40_000 for name, port in PORTS.items()}
    native = Native(root, tmp_path, ports)
    services = read_services(root, SECRETS)
    assert set(services) == {"postgres", "s3", "s3-buckets", "mlflow", "prefect", "worker"}
    inside = re.compile(
        rf"\b({'|'.join(PORTS)}):\d|0\.0\.0\.0|(?<![\w./-])(/data|/project|/tmp)\b(?!/pytest)"
        rf"|\b({'|'.join(str(port) for port in PORTS.values())})\b"
    )
    for service in services.values():
        words = native.command(service) if service.command else []
        words += [
            *native.check(service),
            *(native.environment(service)[k] for k in service.environment),
        ]
        left = [w for w in words if inside.search(w.replace(str(tmp_path), ""))]
        assert left in ([], [w for w in words if w.startswith("pg_isready")]), service.name
        assert all(
            secret not in word
            for word in words[: len(service.command)]
            for secret in SECRETS.values()
        )
    assert services["s3-buckets"].once
    assert [name for name in services if not services[name].restarts] == ["s3-buckets"]
    assert with_needs(services, ["mlflow"]).keys() == services.keys() - {"prefect", "worker"}


def test_a_shells_own_settings_of_the_same_programs_do_not_count(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://elsewhere")
    monkeypatch.setenv("PGSERVICE", "elsewhere")
    native = Native(root, tmp_path, PORTS)
    environment = native.environment(read_services(root, SECRETS)["mlflow"])
    assert "elsewhere" not in environment.values()
    assert environment["PGHOST"] == "127.0.0.1"
    assert environment["MLFLOW_ARTIFACTS_DESTINATION"] == "s3://mlflow"


def test_without_secrets_or_with_one_missing_nothing_starts(
    project: Path, refused: Callable[..., str]
) -> None:
    write_secrets(project / ".env", {**SECRETS, "PREFECT_PASSWORD": ""})
    assert "PREFECT_PASSWORD has no value" in refused()
    (project / ".env").write_text("no pair\n")
    assert ".env:1: the line is no NAME=value" in refused()
    (project / ".env").unlink()
    assert "`make secrets` makes them" in refused()


def test_a_port_that_is_taken_is_named(project: Path, refused: Callable[..., str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = refused("--port", f"postgres={port}", "postgres")
        assert f"service postgres: port {port} is taken" in told
    told = refused("--port", "mlflow=41000", "--port", "prefect=41000")
    assert "port 41000 is taken by" in told
    assert "`web=1` names no port" in refused("--port", "web=1")
    assert not (project / "work/stack/postgres").exists()


def test_a_program_that_is_missing_is_named(project: Path, refused: Callable[..., str]) -> None:
    text = (
        (project / "docker-compose.yml")
        .read_text()
        .replace("mlflow server", "mlflow-not-here server")
    )
    (project / "docker-compose.yml").write_text(text)
    ports = [word for name in PORTS for word in ("--port", f"{name}={PORTS[name] + 41_000}")]
    assert "the program `mlflow-not-here` is not on this machine" in refused(*ports)
    assert "no service `worm`" in refused("worm")


def test_a_line_of_secrets_may_be_quoted_and_commented(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# no\n\nA='one'\nB = two=three \n")
    assert read_variables(tmp_path / ".env") == {"A": "one", "B": "two=three"}


def test_a_store_that_is_away_or_refuses_is_one_clear_error(s3_server: str, tmp_path: Path) -> None:
    values = {"S3_ACCESS_KEY": "a", "S3_SECRET_KEY": "b"}
    with pytest.raises(NadirError, match="Could not connect") as caught, objects.store_faults():
        list(objects.keys(objects.connect(free_port(), values), "dvc"))
    assert "see that the stack runs" in caught.value.fix
    port = int(s3_server.rpartition(":")[2])
    with pytest.raises(NadirError, match="does not exist"), objects.store_faults():
        objects.fetch(objects.connect(port, values), "nowhere", "key", tmp_path)


def test_files_that_are_not_postgres_are_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / "postgres" / "notes.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(NadirError, match="something lies where Postgres") as caught:
        make_cluster(mine.parent, "nadir", "x" * 12)
    assert "--state" in caught.value.fix
    assert mine.read_text() == "mine"


def test_a_cluster_that_is_there_stays_whoever_made_it(tmp_path: Path) -> None:
    (tmp_path / "PG_VERSION").write_text("17")
    make_cluster(tmp_path, "nadir", "x" * 12)
    assert [path.name for path in tmp_path.iterdir()] == ["PG_VERSION"]


def test_a_server_that_was_killed_a_moment_ago_is_waited_for(tmp_path: Path) -> None:
    begun = subprocess.run(
        ["/bin/sh", "-c", "sleep 1 >/dev/null 2>&1 & echo $!"], capture_output=True, check=True
    )
    (tmp_path / "postmaster.pid").write_bytes(begun.stdout + b"/data\n")
    assert psutil.pid_exists(int(begun.stdout))
    wait_for_the_last(tmp_path)
    assert not psutil.pid_exists(int(begun.stdout))


def test_a_damaged_note_of_it_is_postgres_own_to_tell(tmp_path: Path) -> None:
    for text in ("", "no number\n"):
        (tmp_path / "postmaster.pid").write_text(text)
        wait_for_the_last(tmp_path)


def test_the_pause_before_a_restart_grows_while_a_service_ends_at_once() -> None:
    pause, seen = _Pause(), []
    for _ in range(12):
        pause.begin()
        seen.append(pause.seconds)
        pause.end()
    assert seen[:3] == [0.1, 0.2, 0.4]
    assert seen[-1] == 60.0
    pause.since -= 11  # it served for a while
    pause.begin()
    assert pause.seconds == 0.1
