"""What a version is registered with, without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from mlflow.models import Model

from nadir.serving import served_model
from nadir.tracking.version_files.model_folder import save_pointer


def test_saving_a_version_loads_no_weights_and_draws_nothing(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it is registered may be a machine that can do neither."""
    asked: list[Any] = []
    monkeypatch.setattr(served_model, "weights_folder", asked.append)
    saved = save_pointer(tmp_path, "m-" + "1" * 32, "0" * 32 + ".dir", root)
    assert asked == []
    signature = Model.load(str(saved)).signature
    assert "prompt" in str(signature.inputs)
    assert "string" in str(signature.outputs)
