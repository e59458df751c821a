"""Oracle numbers, schedules, and a driver that samples with a known denoiser."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from nadir.diffusion.schedule import NoiseSchedule

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def oracles() -> dict[str, Any]:
    """Six-digit values, computed apart from this code; `inf` as a float."""

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: read(entry) for key, entry in value.items()}
        if isinstance(value, list):
            return [read(entry) for entry in value]
        return math.inf if value == "inf" else value

    return read(json.loads((HERE / "oracles.json").read_text(encoding="utf-8")))


@pytest.fixture(scope="session")
def sdxl() -> NoiseSchedule:
    """SDXL's own schedule, which ends at sigma 14.6."""
    return NoiseSchedule.scaled_linear(0.00085, 0.012, 1000)


@pytest.fixture(scope="session")
def zero_terminal(sdxl: NoiseSchedule) -> NoiseSchedule:
    """The same, rescaled to end at infinity."""
    return sdxl.zero_terminal()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # the tensors here are too small for more


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)
