"""One small checkpoint and its data for all tests of this room."""

from __future__ import annotations

import pytest
from tests.support.small_checkpoint import write_base, write_checkpoint, write_holdout
from tests.support.small_evaluation import SMALL

from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.model.load import load_pipeline


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


@pytest.fixture(scope="session")
def small_params(pytestconfig):
    section = read_section("evaluate", EvaluateParams, pytestconfig.rootpath / "params.yaml")
    return section.model_copy(update=SMALL)


@pytest.fixture(scope="session")
def holdout(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    write_holdout(data, images=5)
    return data
