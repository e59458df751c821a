"""A project for a model's story, and what one asks its servers about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.mini.project import MiniProject, make_project
from tests.support.small_checkpoint import write_base, write_checkpoint
from typer.testing import CliRunner

from nadir.cli import app

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.told_story import Stack

# A checkpoint that draws, beside the number that stands for its quality.
REAL = """
import json, pathlib, shutil
folder = pathlib.Path("models/checkpoint")
mini = json.loads((folder / "nadir.json").read_text())
shutil.copytree("small", folder, dirs_exist_ok=True)
whole = json.loads((folder / "nadir.json").read_text()) | mini
(folder / "nadir.json").write_text(json.dumps(whole))
"""
ASKED = [{"prompt": "1girl, red_hair", "seed": 3, "steps": 4}]
RUNS = """
select run.state_type, state.message, run.id from flow_run run
join deployment on deployment.id = run.deployment_id
join flow_run_state state on state.id = run.state_id
where deployment.name = '{}' and run.state_type not in ('SCHEDULED') order by run.start_time
"""


def with_story(root: Path, params: Path) -> MiniProject:
    """The miniature project with a checkpoint that draws, and a schedule of one minute."""
    project = make_project(root)
    write_base(root.parent / "base", params)
    write_checkpoint(root / "small", root.parent / "base", params)
    (root / "real.py").write_text(REAL, encoding="utf-8")
    stages, steps = root / "dvc.yaml", root / "steps.py"
    stages.write_text(
        stages.read_text().replace("steps.py train", "steps.py train && python real.py")
    )
    # It waits until it is told to stop, however long that takes here; `noise` is the real one's.
    text = steps.read_text().replace("time.sleep(60)", "time.sleep(3600)")
    steps.write_text(text.replace('checkpoint.get("noise", 0.0)', "0.0"))
    deployments = (params.parent / "prefect.yaml").read_text().replace("0 2 * * *", "* * * * *")
    (root / "prefect.yaml").write_text(deployments)
    (root / ".gitignore").write_text("/data\n/models\n/reports\n/work\n/.env\n/small\n")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "A checkpoint that draws")
    return project


def states(stack: Stack, deployment: str = "nightly") -> list[str]:
    return [row[0] for row in stack.rows("prefect", RUNS.format(deployment))]


def runs(stack: Stack) -> dict[str, str]:
    return {str(row[2]): row[0] for row in stack.rows("prefect", RUNS.format("nightly"))}


def under_way(stack: Stack) -> list[str]:
    return [state for state in states(stack) if state not in {"COMPLETED", "CANCELLED"}]


def aliases(stack: Stack) -> dict[str, int]:
    query = "select alias, version from registered_model_aliases where name = 'nadir'"
    return dict(stack.rows("mlflow", query))


def nadir(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout
