"""The flow of the reproduction on a real server: a task an arm, the page an artifact."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest
from prefect.testing.utilities import prefect_test_harness
from tests.flows.test_training_pipeline import artifacts, flow_runs, load, task_runs
from tests.mini.project import MiniProject
from tests.support.small_reproduction import SIZE, place_data

from nadir.ground.errors import NadirError


@pytest.fixture
def flow(
    project: MiniProject, params_text: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ModuleType]:
    place_data(project.root, params_text)
    with prefect_test_harness(server_startup_timeout=300):
        module = load("reproduction")
        monkeypatch.setattr(module, "_SIZE", SIZE)
        yield module


def test_every_arm_is_a_task_and_the_page_an_artifact(
    flow: ModuleType, project: MiniProject
) -> None:
    page = flow.reproduction(claims=["samplers", "identities"], seeds=1, budget="1h")
    assert page == "docs/reproduction.md"
    (run,) = flow_runs()
    assert run.state_name == "Completed"
    assert set(task_runs(run)) == {"v_zero_terminal-0", "page"}
    text = (project.root / page).read_text(encoding="utf-8")
    assert artifacts(run)["reproduction"].data == text
    assert (project.root / "docs/reproduction/samplers.png").is_file()
    with pytest.raises(NadirError, match="no claim is called nonsense"):
        flow.reproduction(claims=["nonsense"], seeds=1, budget="1h")
