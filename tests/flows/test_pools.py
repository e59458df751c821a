"""The templates of docs/pools: consistent, accepted by their schemas, closed like the compose file.

That the workers of prefect-docker and prefect-kubernetes make containers and jobs of them was tried
with the packages themselves, which the pipeline does not need.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prefect
import pytest
import yaml
from jsonschema import Draft202012Validator, ValidationError
from prefect.utilities.templating import find_placeholders
from tests.mini.project import REPOSITORY

KINDS = ("docker", "kubernetes")
# Of a worker's newer version than the list that Prefect's server brings.
NEWER = {"container_create_kwargs"}


def template(kind: str) -> dict[str, Any]:
    text = (REPOSITORY / "docs/pools" / f"{kind}.json").read_text(encoding="utf-8")
    return json.loads(text)  # type: ignore[no-any-return]


def default_template(kind: str) -> dict[str, Any]:
    """The one that Prefect's own server offers for this kind of worker."""
    folder = Path(prefect.__file__).parent / "server/api/collections_data/views"
    text = (folder / "aggregate-worker-metadata.json").read_text(encoding="utf-8")
    return json.loads(text)[f"prefect-{kind}"][kind]["default_base_job_configuration"]  # type: ignore[no-any-return]


def containers(tree: Any) -> Iterator[dict[str, Any]]:
    yield from tree["job_manifest"]["spec"]["template"]["spec"]["containers"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_variable_is_used_and_has_a_meaning(kind: str) -> None:
    own = template(kind)
    variables = own["variables"]["properties"]
    used = {found.name for found in find_placeholders(own["job_configuration"])}
    assert used == set(variables)
    assert all(variable["description"] for variable in variables.values())
    assert set(own["variables"]["required"]) <= set(variables)


@pytest.mark.parametrize("kind", KINDS)
def test_the_worker_knows_every_setting(kind: str) -> None:
    own, known = template(kind), default_template(kind)
    settings = set(own["job_configuration"]) - NEWER
    assert settings <= set(known["job_configuration"])
    for name in settings & set(own["variables"]["properties"]):
        if name in known["variables"]["properties"] and name != "job_manifest":
            theirs = known["variables"]["properties"][name]
            kinds = {theirs.get("type"), *(one.get("type") for one in theirs.get("anyOf", []))}
            assert own["variables"]["properties"][name]["type"] in kinds, name


@pytest.mark.parametrize(("kind", "needed"), [("docker", "project"), ("kubernetes", "image")])
def test_what_a_deployment_says_is_checked(kind: str, needed: str) -> None:
    schema = template(kind)["variables"]
    Draft202012Validator.check_schema(schema)
    check = Draft202012Validator(schema)
    deployments = yaml.safe_load((REPOSITORY / "prefect.yaml").read_text(encoding="utf-8"))
    for deployment in deployments["deployments"]:
        check.validate({needed: "x", **deployment["work_pool"]["job_variables"]})
    with pytest.raises(ValidationError, match=needed):
        check.validate({})
    with pytest.raises(ValidationError, match="stream_output"):
        check.validate({needed: "x", "stream_output": "yes"})
    for name, variable in schema["properties"].items():
        if "default" in variable:
            check.validate({needed: "x", name: variable["default"]})


def test_a_container_is_as_closed_as_the_worker_of_the_compose_file() -> None:
    services = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text(encoding="utf-8"))
    worker = services["services"]["worker"]
    own = template("docker")
    kept = own["job_configuration"]["container_create_kwargs"]
    for name in ("read_only", "cap_drop", "security_opt", "pids_limit", "init", "working_dir"):
        assert kept[name] == worker[name], name
    variables = own["variables"]["properties"]
    assert variables["image"]["default"] == worker["image"]
    assert variables["shm_size"]["default"] == worker["shm_size"]
    assert own["job_configuration"]["privileged"] is False


def test_a_pod_has_no_more_rights_than_the_pipeline_needs() -> None:
    (container,) = containers(template("kubernetes")["job_configuration"])
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    pod = template("kubernetes")["job_configuration"]["job_manifest"]["spec"]["template"]["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    places = {mount["name"] for mount in container["volumeMounts"]}
    assert places == {volume["name"] for volume in pod["volumes"]}
