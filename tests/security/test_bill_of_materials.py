"""`sbom.json` names what `requirements.lock` pins, no more and no less, by CycloneDX's form."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    """The committed bill."""
    read: dict[str, Any] = json.loads((ROOT / "sbom.json").read_text(encoding="utf-8"))
    return read


def test_the_bill_names_what_the_lock_file_pins(bill: dict[str, Any]) -> None:
    text = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins = {canonicalize_name(n): v for n, v in re.findall(r"^([\w.-]+)==(\S+)", text, re.M)}
    named = {canonicalize_name(c["name"]): c["version"] for c in bill["components"]}
    assert named == pins, "run `make sbom`"


def test_each_package_can_be_looked_up_and_has_a_licence(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    for component in bill["components"]:
        name = component["name"].lower().replace("_", "-")
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"
    silent = {c["name"] for c in bill["components"] if not c.get("licenses")}
    assert len(silent) <= len(bill["components"]) // 20, silent


def test_dependencies_point_at_packages_of_the_bill(bill: dict[str, Any]) -> None:
    known = {c["bom-ref"] for c in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}
    edges = {entry["ref"]: set(entry.get("dependsOn", [])) for entry in bill["dependencies"]}
    assert set(edges) <= known
    assert set().union(*edges.values()) <= known
    root = bill["metadata"]["component"]["bom-ref"]
    assert {"torch==2.13.0", "mlflow==3.17.2", "prefect==3.8.8"} <= edges[root]


def test_no_place_of_a_machine_is_in_the_bill() -> None:
    assert not re.search(r"file:|/home/|/root/|/tmp/", (ROOT / "sbom.json").read_text("utf-8"))
