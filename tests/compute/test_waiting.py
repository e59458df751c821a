"""Threads that wait give their core up soon, however a stage is started."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SAY = "import os; print(os.environ.get('GOMP_SPINCOUNT'), os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize("entry", ["nadir.stages", "nadir.cli"])
@pytest.mark.parametrize(
    ("user", "seen"),
    [
        ({}, "15000 None"),
        ({"GOMP_SPINCOUNT": "7"}, "7 None"),
        ({"OMP_WAIT_POLICY": "active"}, "None active"),
    ],
)
def test_waits_are_bounded_before_torch_is_loaded_unless_the_user_has_said_how(
    entry: str, user: dict[str, str], seen: str
) -> None:
    code = f"import {entry}, sys; assert 'torch' not in sys.modules; {SAY}"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**kept, **user},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == seen
