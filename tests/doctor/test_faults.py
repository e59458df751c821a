"""Each check fails where the fault is really there, and what it prints heals it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.doctor import test_shells
from tests.doctor.asking import BY_NAME, found, run_remedy
from tests.doctor.faults import FAULTS, OTHER_DISK, Fault
from tests.mini.project import MiniProject

from nadir.pipeline.processes.process import quiet_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

CASES = [(name, fault) for name, faults in FAULTS.items() for fault in faults]
NAMES = [f"{name}: {getattr(fault.produce, '__name__', '')}" for name, fault in CASES]
# Of a shell that a test runs in, and not of the fault.
NOISE = ("OMP_NUM_THREADS", "PYTHONPATH", "TMPDIR", "http_proxy", "https_proxy", "all_proxy")


@pytest.fixture
def shell(project: MiniProject) -> Iterator[dict[str, str]]:
    """Variables in which nothing is wrong."""
    variables = quiet_environment(project.root)
    noise = {*NOISE, *map(str.upper, NOISE), "MPLBACKEND", "MLFLOW_TRACKING_URI", "PREFECT_API_URL"}
    yield {name: value for name, value in variables.items() if name not in noise}
    shutil.rmtree(OTHER_DISK, ignore_errors=True)


@pytest.mark.parametrize(("name", "fault"), CASES, ids=NAMES)
def test_a_fault_is_seen_and_its_remedy_heals_it(
    name: str, fault: Fault, project: MiniProject, shell: dict[str, str]
) -> None:
    if name == "gpu" and Path("/proc/driver/nvidia/version").exists():
        pytest.skip("this machine has a driver")
    fault.sound(project)
    before = found(name, project.root, shell)
    assert before.state in {"ok", "none"}, before
    faulty = shell | fault.produce(project)
    seen = found(name, project.root, faulty)
    assert (seen.state, fault.told in seen.told) == (fault.state, True), seen
    assert seen.fix
    assert "PLANTED" not in seen.told + seen.fix
    if fault.remedy != "run":
        return
    healed = run_remedy(seen.fix, project, faulty)
    deadline = time.monotonic() + 60
    # A process that was asked to end takes a moment.
    while (after := found(name, project.root, healed)).state not in {"ok", "none"}:
        assert name in {"orphans", "workspace-lock"}, after
        assert time.monotonic() < deadline, after
        time.sleep(0.2)


def test_every_check_has_a_test_in_which_it_fails() -> None:
    special = {
        name.removeprefix("test_").replace("_", "-")
        for name in vars(test_shells)
        if name.startswith("test_")
    }
    assert set(FAULTS) | (special & set(BY_NAME)) == set(BY_NAME)
    assert not set(FAULTS) & special
