"""docker-compose.yml by the Compose Specification's schema, and what its containers are denied."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from nadir.tracking.lock_file import load_yaml

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "tests/support/compose_spec/compose-spec.json"
# SeaweedFS's image starts as root to own its volume, then becomes another user.
BECOMES_ANOTHER_USER = {"s3": ["CHOWN", "SETUID", "SETGID"]}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(load_yaml(ROOT / "docker-compose.yml"))


def faults(tree: dict[str, Any]) -> list[str]:
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    found = Draft7Validator(schema).iter_errors(tree)
    return [f"{'.'.join(map(str, fault.absolute_path))}: {fault.message}" for fault in found]


def test_it_is_what_the_specification_allows(compose: dict[str, Any]) -> None:
    assert faults(compose) == []


def test_a_word_that_compose_does_not_know_is_found(compose: dict[str, Any]) -> None:
    wrong = copy.deepcopy(compose)
    wrong["services"]["mlflow"]["read-only"] = True
    wrong["services"]["s3"]["cap_drop"] = "ALL"
    assert len(faults(wrong)) == 2


@pytest.mark.parametrize("name", ["postgres", "s3", "s3-buckets", "mlflow", "prefect", "worker"])
def test_a_container_has_no_right_that_it_does_not_need(compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["read_only"] is True
    assert "/tmp" in service["tmpfs"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"] > 0
    assert service.get("cap_add", []) == BECOMES_ANOTHER_USER.get(name, [])
    assert not {"privileged", "network_mode", "pid", "ipc", "devices"} & service.keys()
    user = service.get("user")
    if user is None and name not in BECOMES_ANOTHER_USER:
        assert service["build"] == "mlflow"
        lines = (ROOT / "mlflow/Dockerfile").read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if line.startswith("USER ")][-1] == "USER mlflow"
    elif user is not None:
        assert not user.startswith(("0", "root"))


def test_every_service_is_in_the_list_above(compose: dict[str, Any]) -> None:
    assert len(compose["services"]) == 6


def test_only_the_clone_is_written_and_other_files_from_outside_are_read(
    compose: dict[str, Any],
) -> None:
    outside = [
        volume
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
        if volume.startswith(".")
    ]
    writable = [volume for volume in outside if not volume.endswith(":ro")]
    assert writable == [".:/project"]
    for volume in outside:
        assert (ROOT / volume.partition(":")[0]).exists()


def test_what_serves_for_long_says_whether_it_is_well(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        once = service["restart"].startswith("on-failure")
        assert once != ("healthcheck" in service), name
        conditions = [how["condition"] for how in service.get("depends_on", {}).values()]
        assert "service_started" not in conditions
    checks = [
        str(s["healthcheck"]["test"]) for s in compose["services"].values() if "healthcheck" in s
    ]
    assert not any("PASSWORD" in check for check in checks), (
        "a check shows in the list of processes"
    )


def test_mlflow_and_prefect_ask_who_is_there(compose: dict[str, Any]) -> None:
    services = compose["services"]
    mlflow = services["mlflow"]
    assert "--app-name basic-auth" in mlflow["command"]
    assert mlflow["environment"]["MLFLOW_AUTH_ADMIN_PASSWORD"].startswith(
        "${MLFLOW_ADMIN_PASSWORD:?"
    )
    settings = (ROOT / "mlflow/basic_auth.ini").read_text(encoding="utf-8")
    lines = [line for line in settings.splitlines() if not line.startswith(";")]
    assert not any("password" in line for line in lines)
    login = "nadir:${PREFECT_PASSWORD"
    assert services["prefect"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"].startswith(login)
    assert services["worker"]["environment"]["PREFECT_API_AUTH_STRING"].startswith(login)
