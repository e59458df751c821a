"""The bench for GPUs runs, on a small network and the CPU."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from accelerate.state import AcceleratorState
from bench.gpu import CASES, ceiling, measure


@pytest.fixture(autouse=True)
def _fresh_accelerate() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.parametrize("case", ["full fp32, AdamW", "LoRA 16, no checkpointing"])
def test_a_case_is_measured(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    found = measure(case, 1, tiny=True, device="cpu")
    assert found["images_per_s"] > 0
    # Three forward passes, two where the weights are frozen.
    assert found["flops_per_image"] > 1e6
    assert ceiling("cpu") > 1e9
    assert case in CASES
