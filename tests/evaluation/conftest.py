"""One small checkpoint for all tests of this room."""

from __future__ import annotations

import pytest
from tests.support.small_checkpoint import write_base, write_checkpoint

from nadir.model.checkpoint import load_pipeline


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory, pytestconfig):
    params = pytestconfig.rootpath / "params.yaml"
    folder = tmp_path_factory.mktemp("models")
    write_base(folder / "base", params)
    write_checkpoint(folder / "checkpoint", folder / "base", params, steps=0)
    return folder / "checkpoint"


@pytest.fixture(scope="session")
def pipeline(checkpoint):
    return load_pipeline(checkpoint)
