"""The project that tests of the stage encode start from."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.support.encode_project import SIZES, describe, paint
from tests.support.training_project import TINY

from nadir.model.tiny.networks import make_tiny


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    make_tiny(folder, TINY)
    return folder


@pytest.fixture
def project(tmp_path: Path, base: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    text = params_text.replace("batch_size: 32\n  shard_bytes", "batch_size: 2\n  shard_bytes")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "models").mkdir()
    shutil.copytree(base, tmp_path / "models" / "base")
    monkeypatch.chdir(tmp_path)
    for number, size in enumerate(SIZES):
        paint(tmp_path, number, size)
    describe(tmp_path)
    return tmp_path
