"""Switches of Python that a shell has for tests end no stage."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from tests.mini.project import MiniProject, project

from nadir.pipeline.processes.process import quiet_environment

__all__ = ["project"]


@pytest.mark.parametrize("entry", ["nadir.stages", "nadir.cli"])
def test_warnings_are_no_errors_while_the_gate_loads_great_expectations(entry: str) -> None:
    code = f"import {entry}, os, great_expectations; print(os.environ.get('PYTHONWARNINGS'))"
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    told = subprocess.check_output([sys.executable, "-c", code], env=environment, text=True)
    assert told == "None\n"


def test_stages_keep_docstrings_and_asserts_which_their_libraries_need(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONOPTIMIZE", "PYTHONWARNINGS"):
        monkeypatch.setenv(name, "2" if name == "PYTHONOPTIMIZE" else "error")
        assert name not in quiet_environment(project.root)
