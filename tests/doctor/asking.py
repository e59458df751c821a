"""One check, asked; and the command of its remedy, run as a user would."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from nadir.doctor.checks import CHECKS
from nadir.doctor.examination import examine
from nadir.doctor.scene import Scene
from nadir.pipeline.processes.process import quiet_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.mini.project import MiniProject

    from nadir.doctor.finding import Finding

REPOSITORY = Path(__file__).resolve().parents[2]
BY_NAME = {check.name: check for check in CHECKS}


def found(name: str, root: Path, environment: Mapping[str, str] | None = None) -> Finding:
    """What one check says, by `examine` as in the program."""
    scene = Scene(root) if environment is None else Scene(root, environment)
    return examine(scene, [BY_NAME[name]])[0][1]


def command_of(fix: str) -> str:
    """The first command that a remedy names."""
    named = re.search(r"`([^`]+)`", fix)
    assert named, fix
    return named[1]


def run_remedy(
    fix: str, project: MiniProject, environment: Mapping[str, str], before: str = ""
) -> dict[str, str]:
    """Run the command in a shell; returns the shell's variables afterwards."""
    own = quiet_environment(project.root)["PATH"]
    done = subprocess.run(
        ["bash", "-c", f"{before}\nset -e\n{command_of(fix)} >&2\nenv -0"],
        cwd=project.root,
        env={**environment, "PATH": own},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pairs = (entry.partition("=") for entry in done.stdout.split("\0") if entry)
    return {name: value for name, _, value in pairs}


def program(
    project: MiniProject,
    *names: str,
    shell: str = "",
    python: str = sys.executable,
    variables: Mapping[str, str] | None = None,
) -> dict[str, dict[str, str]]:
    """`python -m nadir.doctor --json` in a shell that was made so; the checks by name, or some."""
    command = [python, "-m", "nadir.doctor", "--json", *names]
    done = subprocess.run(
        ["bash", "-c", f'{shell}\nexec "$@"', "bash", *command],
        cwd=project.root,
        env={**quiet_environment(project.root), **(variables or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("{"), done.stderr
    answer = json.loads(done.stdout)
    assert done.returncode == (0 if answer["ok"] else 1), done.stderr
    return {entry["name"]: entry for entry in answer["checks"]}
