"""A miniature project, its base model and its params, for the tests of the training room."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState
from tests.support.training_project import make_base, write_project

from nadir.config.reader import read_section
from nadir.config.train import TrainParams

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def train_params() -> TrainParams:
    """`train` of the default params.yaml."""
    return read_section("train", TrainParams, ROOT / "params.yaml")


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest tiny SDXL."""
    return make_base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    """Accelerate keeps its state per process; tests want different precisions."""
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def project(tmp_path: Path, base: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A miniature project, which is also the working directory."""
    folder = write_project(tmp_path / "project", base=base, params_text=params_text)
    monkeypatch.chdir(folder)
    return folder
