"""A project of one's own: a copy of this repository with a miniature setting."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests.support.searching import SECRETS, plant

ROOT = Path(__file__).resolve().parents[2]
NADIR = (sys.executable, "-c", "from nadir.cli import main; main()")

# Small enough for a test, whole enough to be the real thing.
MINIATURE = [
    "ingest.source=pictures",
    "bucket.min_images=4",
    "base_model.tiny.vae_steps=12",
    "base_model.tiny.vae_batch_size=4",
    "base_model.tiny.vae_channels=[8,8,8]",
    "base_model.tiny.unet_channels=[16,32]",
    "base_model.tiny.unet_transformer_layers=[0,1]",
    "train.steps=12",
    "train.batch_size=4",
    "train.warmup_steps=2",
    "train.checkpoint_every=4",
    "train.preview_every=0",
    "evaluate.cfg_scales=[3.5,4.5]",
    "evaluate.steps=3",
    "evaluate.seeds=[1]",
    "evaluate.holdout_prompts=2",
    "evaluate.loss_images=2",
    "evaluate.max_brightness_error=1.0",
    "compute.device=cpu",
]


@dataclass(frozen=True)
class Project:
    """A copy of the repository and what one does with it."""

    folder: Path
    _status: dict[str, Any] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The copy's own code first, its own servers and stores, one thread."""
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MLFLOW_", "PREFECT_"))},
            "PATH": path,
            "PYTHONPATH": str(self.folder / "src"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "OMP_NUM_THREADS": "1",
            **SECRETS,
        }

    def run(
        self, *command: str, timeout: float = 600, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the project."""
        self._status.clear()
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def nadir(self, *arguments: str, fails: bool = False, **variables: str) -> str:
        """Run `nadir …`; returns what it printed. Asserts on its exit code."""
        done = self.run(*NADIR, *arguments, **variables)
        text = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, text
        return text

    def status(self) -> dict[str, Any]:
        """`nadir status --json`; asked once between two other commands."""
        if not self._status:
            done = self.run(*NADIR, "status", "--json")
            assert done.returncode == 0, done.stderr
            self._status.update(json.loads(done.stdout))
        return self._status

    def states(self) -> dict[str, str]:
        """Stage name to its state in the last pipeline run."""
        return {stage["name"]: stage["state"] for stage in self.status()["stages"]}

    def git(self, *arguments: str) -> None:
        """Run git in the project."""
        done = self.run("git", *arguments)
        assert done.returncode == 0, done.stderr


def copy_of_the_repository(folder: Path) -> Project:
    """The tracked and not ignored files of this repository as a git repository of their own."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    for name in listed:
        source = ROOT / name
        if source.is_file() and not name.startswith(("tests/", "docs/")):
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)
    project = Project(folder)
    project.git("init", "-q", "-b", "main")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@nadir.invalid")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "A copy")
    return project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A miniature project with sixty pictures and three hostile ones, before its first run."""
    made = copy_of_the_repository(tmp_path_factory.mktemp("project"))
    made.nadir("sample-data", "pictures", "--images", "60", "--seed", "3")
    plant(made.folder / "pictures")
    made.nadir("params", "set", *MINIATURE)
    made.git("commit", "-q", "-am", "Miniature")
    return made
