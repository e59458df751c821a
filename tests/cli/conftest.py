from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.small_checkpoint import write_base, write_checkpoint

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Path:
    """A small checkpoint as training publishes it; only to be read."""
    params, folder = pytestconfig.rootpath / "params.yaml", tmp_path_factory.mktemp("models")
    write_base(folder / "base", params)
    write_checkpoint(folder / "checkpoint", folder / "base", params, original_size=[64, 64])
    return folder / "checkpoint"
