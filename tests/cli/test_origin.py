"""What an exported file says of the version that it is."""

from __future__ import annotations

import pytest
from tests.mini.project import MiniProject, project
from tests.mini.weights import add_version

from nadir.cli.model.origin import licence_of, origin_of
from nadir.ground.errors import NadirError
from nadir.tracking.lineage import LICENCE_TAG
from nadir.tracking.store.connection import connect

__all__ = ["project"]


def test_a_registered_version_is_named_with_what_made_it(project: MiniProject) -> None:
    client = connect(project.root)
    number = add_version(client, project.root)
    client.set_registered_model_alias("nadir", "champion", str(number))
    run_id = client.get_model_version("nadir", str(number)).run_id
    tags = {"git.commit": "c" * 40, "data.md5": "d" * 32, "base_model.revision": "/home/me/x@1"}
    for key, value in tags.items():
        client.set_model_version_tag("nadir", str(number), key, value)
    told = origin_of(None)
    expected = f"(MLflow run {run_id}, commit {'c' * 12}, latents {'d' * 12})."
    assert told == f"Registered as nadir version 1 {expected}"
    assert origin_of("models:/nadir/1") == told
    assert origin_of("models/checkpoint") is None
    with pytest.raises(NadirError, match="the registry has no"):
        origin_of("models:/nadir/2")


def test_a_licence_is_what_the_version_says_and_of_a_folder_what_the_project_says(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(project.root)
    number = str(add_version(client, project.root))
    client.set_registered_model_alias("nadir", "champion", number)
    assert licence_of(None) is None, "it was made without one"
    project.set("licence: null", "licence: openrail++")
    assert licence_of("models:/nadir/1") is None, "whatever the project says by now"
    client.set_model_version_tag("nadir", number, LICENCE_TAG, "cc-by-4.0")
    assert licence_of(None) == licence_of("models:/nadir/1") == "cc-by-4.0"
    for folder in ("models/checkpoint", str(project.root / "models/x")):
        assert licence_of(folder) == "openrail++"
    assert licence_of(str(project.root.parent)) is None
    monkeypatch.chdir(project.root.parent)
    assert licence_of("models/checkpoint") is None
