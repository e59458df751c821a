"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# Before any library is imported: nothing reports anywhere, and torch leaves a core to the others.
os.environ.update(
    DO_NOT_TRACK="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    DVC_NO_ANALYTICS="1",
    HF_HUB_OFFLINE="1",
    GX_ANALYTICS_ENABLED="false",
)


@pytest.fixture
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture
def params_text() -> str:
    """The default params.yaml."""
    return (ROOT / "params.yaml").read_text(encoding="utf-8")
