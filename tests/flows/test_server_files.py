"""The files of the server stack agree with each other and with the project."""

from __future__ import annotations

import re
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest

from nadir.tracking.lock_file import load_yaml


def pip_line(root: Path) -> list[str]:
    """What the image of the MLflow server runs to install itself, word by word."""
    text = (root / "mlflow/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^RUN (pip install [^&]*)", text, re.MULTILINE)
    return line.split()


@pytest.fixture
def compose(root: Path) -> dict[str, Any]:
    return dict(load_yaml(root / "docker-compose.yml"))


def test_every_image_is_pinned(root: Path, compose: dict[str, Any]) -> None:
    services = compose["services"].values()
    images = [service["image"] for service in services]
    inline = [s["build"].get("dockerfile_inline", "") for s in services
              if isinstance(s.get("build"), dict)]  # fmt: skip
    files = [(root / "mlflow/Dockerfile").read_text(encoding="utf-8"), *inline]
    images += [line.split()[1] for text in files for line in text.splitlines() if "FROM " in line]
    assert len(images) >= 8
    for image in images:
        assert re.search(r":v?\d+\.\d+", image), image


def test_the_servers_have_the_versions_of_the_lock_file(
    root: Path, compose: dict[str, Any]
) -> None:
    lock = (root / "requirements.lock").read_text(encoding="utf-8").lower().splitlines()
    pins = dict(line.split("==") for line in lock if "==" in line and not line.startswith("#"))
    for name in ("prefect", "worker"):
        build = compose["services"][name]["build"]["dockerfile_inline"]
        assert "pip install --no-cache-dir --requirement /tmp/requirements.lock" in build
    installed = dict(name.lower().split("==") for name in pip_line(root) if "==" in name)
    assert {"mlflow", "sqlalchemy", "alembic", "psycopg2-binary", "boto3"} <= installed.keys()
    assert installed.items() <= pins.items()
    assert load_yaml(root / "prefect.yaml")["prefect-version"] == pins["prefect"]


def test_every_database_address_names_its_driver(root: Path) -> None:
    text = (root / "docker-compose.yml").read_text(encoding="utf-8")
    addresses = re.findall(r"postgres(?:ql)?\S*://", text)
    assert sorted(addresses) == ["postgresql+asyncpg://", "postgresql+psycopg2://"]


def test_mlflow_answers_to_the_name_the_worker_calls_it_by(compose: dict[str, Any]) -> None:
    uri = compose["services"]["worker"]["environment"]["MLFLOW_TRACKING_URI"]
    hosts = compose["services"]["mlflow"]["command"].split("--allowed-hosts ")[1].split(",")
    assert uri.removeprefix("http://") in hosts
    assert "localhost:*" in hosts


def test_ports_are_open_on_this_machine_only_and_secrets_have_no_default(
    root: Path, compose: dict[str, Any]
) -> None:
    for service in compose["services"].values():
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    text = (root / "docker-compose.yml").read_text(encoding="utf-8")
    example = (root / ".env.example").read_text(encoding="utf-8")
    for name in ("POSTGRES_PASSWORD", "S3_ACCESS_KEY", "S3_SECRET_KEY"):
        assert f"${{{name}:?" in text
        assert f"{name}=" in example
    assert ".env" in (root / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_the_mlflow_folder_shadows_no_library(root: Path) -> None:
    assert not list((root / "mlflow").rglob("*.py"))


def test_flows_are_not_named_like_libraries_and_deployments_point_to_them(root: Path) -> None:
    # Where a flow was loaded from its file, Prefect has put the folder among the places.
    places = [place for place in sys.path if Path(place) != root / "flows"]
    for path in (root / "flows").glob("*.py"):
        assert PathFinder.find_spec(path.stem, places) is None, path
    for deployment in load_yaml(root / "prefect.yaml")["deployments"]:
        file, name = deployment["entrypoint"].split(":")
        assert f"def {name}(" in (root / file).read_text(encoding="utf-8")


def test_the_nightly_deployment_has_a_schedule(root: Path) -> None:
    deployments = {d["name"]: d for d in load_yaml(root / "prefect.yaml")["deployments"]}
    (schedule,) = deployments["nightly"]["schedules"]
    assert schedule["cron"] == "0 2 * * *"
    assert schedule["active"]


def test_the_worker_has_a_user_name_which_dvc_needs(compose: dict[str, Any]) -> None:
    lines = compose["services"]["worker"]["build"]["dockerfile_inline"].splitlines()
    words = [word for line in lines if line.startswith("ENV ") for word in line.split()[1:]]
    assert {"USER=nadir", "LOGNAME=nadir"} <= set(words)


def test_the_database_is_healthy_only_when_it_listens_to_others(compose: dict[str, Any]) -> None:
    (_, command) = compose["services"]["postgres"]["healthcheck"]["test"]
    assert "--host 127.0.0.1" in command, "the socket answers while the database is being made"


def test_the_time_a_large_file_may_take_is_a_setting_of_the_client(
    root: Path, compose: dict[str, Any]
) -> None:
    name = "MLFLOW_HTTP_REQUEST_TIMEOUT"
    assert name not in (root / "mlflow/server.env").read_text(encoding="utf-8")
    assert name in compose["services"]["worker"]["environment"]
