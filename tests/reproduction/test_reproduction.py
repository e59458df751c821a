"""A reproduction: wrong questions, a budget, and a kill in the middle of a training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.mini.project import MiniProject
from tests.support.small_reproduction import SIZE, place_data

from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.reproduction.data import data_key
from nadir.reproduction.page import write_page
from nadir.reproduction.reproduction import Reproduction, seconds_of
from nadir.reproduction.running import _note_cost, costs
from nadir.tracking.store.connection import connect

CHILD = """
import sys
from pathlib import Path
from tests.support.small_reproduction import SIZE
from nadir.reproduction.reproduction import Reproduction
whole = Reproduction.planned(Path.cwd(), claims=["convergence"], seeds=1, budget="1h", size=SIZE)
with whole.alone():
    for job in whole.jobs:
        whole.run(job, say=print)
"""


@pytest.mark.parametrize(
    ("claims", "seeds", "budget", "told"),
    [
        (["ladder", "nonsense"], 3, "2h", "no claim is called nonsense"),
        (["24"], 3, "2h", "no claim is called 24"),
        ([], 3, "2h", "no claim is called nothing"),
        (None, 0, "2h", "0 seeds cannot be trained"),
        (None, 3, "2", "'2' is no length of time above zero"),
        (None, 3, "0m", "'0m' is no length of time above zero"),
        (None, 3, "nanh", "'nanh' is no length of time above zero"),
        (None, 3, "infs", "'infs' is no length of time above zero"),
        (None, 3, "", "'' is no length of time above zero"),
    ],
)
def test_a_wrong_question_is_one_clear_error(
    tmp_path: Path, claims: list[str] | None, seeds: int, budget: str, told: str
) -> None:
    with pytest.raises(NadirError) as caught:
        Reproduction.planned(tmp_path, claims=claims, seeds=seeds, budget=budget)
    assert told in caught.value.what
    assert caught.value.fix


def test_a_budget_is_written_with_its_unit() -> None:
    assert [seconds_of(text) for text in ("90s", "1.5m", "2h")] == [90, 90, 7200]


def test_another_preset_makes_other_data(tmp_path: Path) -> None:
    preset = tmp_path / "presets/tiny.yaml"
    preset.parent.mkdir()
    keys = set()
    for text in ("a: 1", "a: 2"):
        preset.write_text(text, encoding="utf-8")
        data_key.cache_clear()
        keys.add(data_key(tmp_path, "clean", SIZE))
    assert len(keys) == 2


def test_a_kill_leaves_the_times_that_were_noted_before(tmp_path: Path) -> None:
    """The file is replaced as a whole: another name of it keeps the old content."""
    _note_cost(tmp_path, "train", 1.0)
    (tmp_path / "before").hardlink_to(tmp_path / "seconds.json")
    _note_cost(tmp_path, "train", 2.0)
    assert read_json(tmp_path / "before") == {"train": 1.0}
    assert costs(tmp_path) == {"train": 3.0}


def run(root: Path, *, budget: str = "1h") -> tuple[Reproduction, list[str]]:
    said: list[str] = []
    claims, seeds = ["convergence"], 1
    whole = Reproduction.planned(root, claims=claims, seeds=seeds, budget=budget, size=SIZE)
    with whole.alone():
        for job in whole.jobs:
            whole.run(job, say=said.append)
    return whole, said


def killed_while_training(root: Path) -> None:
    """Run in a process of its own, and end it without warning once a training has a checkpoint."""
    here = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(here), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen([sys.executable, "-c", CHILD], cwd=root, env=environment) as child:
        arms = root / "work/reproduction/arms"
        while not list(arms.glob("*/training/checkpoints/*")):
            assert child.poll() is None, "it ended before it could be killed"
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
    assert not list(arms.glob("*/measures/*"))


def test_a_killed_reproduction_goes_on_with_identical_numbers(
    project: MiniProject, params_text: str, tmp_path: Path
) -> None:
    place_data(project.root, params_text)
    killed_while_training(project.root)
    gone_on, said = run(project.root)
    assert len(said) == 4  # two trainings and two measures
    results = gone_on.results()
    # The same from scratch, its data in another place.
    for folder in (project.root / "work/reproduction/arms").iterdir():
        folder.rename(tmp_path / folder.name)
    whole, _ = run(project.root)
    assert whole.results().found == results.found
    again, said = run(project.root)
    assert not said
    assert again.results().found == results.found
    runs = connect(project.root).search_runs(
        [connect(project.root).get_experiment_by_name("nadir-reproduction").experiment_id]
    )
    assert sorted(run.info.run_name for run in runs) == ["epsilon_stock-0", "v_stock-0"]
    assert all(f.data.metrics["usual/loss_mean"] > 0 for f in runs)
    page = write_page(again, tmp_path / "docs", command="nadir reproduce").read_text()
    assert page.startswith("`nadir reproduce` on ")
    assert "cannot be seen at this size" in page  # one seed
    assert "Every planned arm was run." in page


def test_what_does_not_fit_the_budget_is_named(
    project: MiniProject, params_text: str, tmp_path: Path
) -> None:
    place_data(project.root, params_text)
    whole, _ = run(project.root, budget="0.000001s")
    # What a step takes is not known before the first training, which is therefore made.
    assert whole.left_out == {"epsilon_stock-0": ["usual"], "v_stock-0": ["train"]}
    page = write_page(whole, tmp_path / "docs", command="nadir reproduce").read_text()
    assert "Not run, because the budget was spent: usual of epsilon_stock-0; v_stock-0." in page
    assert "| not run (budget) |" in page


def test_two_reproductions_at_once_are_refused(project: MiniProject) -> None:
    whole = Reproduction.planned(project.root, claims=None, seeds=1, budget="1h", size=SIZE)
    with whole.alone(), pytest.raises(NadirError, match="another reproduction is running"):
        run(project.root)
