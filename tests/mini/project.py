"""A project of five tiny stages, for tests of what surrounds the real ones.

`conftest.py` files that want the fixture import it by name.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from nadir.pipeline.processes.process import quiet_environment, run_dvc
from nadir.tracking.store.connection import connect

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
STAGES = ["ingest", "encode", "base_model", "train", "evaluate"]


@dataclass(frozen=True)
class MiniProject:
    """A git and DVC project in a folder of its own, which is the current folder."""

    root: Path

    def source(self, text: str) -> None:
        """Change what `ingest` lists."""
        (self.root / "source.txt").write_text(text, encoding="utf-8")

    def set(self, old: str, new: str) -> None:
        """Replace a text in params.yaml."""
        path = self.root / "params.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def dvc(self, *arguments: str) -> str:
        """Run DVC; returns what it printed."""
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "log"
            code = run_dvc(
                arguments,
                self.root,
                environment={},
                log=log,
                on_line=lambda _line: None,
                on_tick=lambda: None,
            )
            printed = log.read_text(encoding="utf-8")
        assert code == 0, printed
        return printed

    def git(self, *arguments: str) -> str:
        """Run git; returns what it printed."""
        return self.command("git", *arguments).strip()

    def command(self, *command: str) -> str:
        """Run a command that must succeed; returns what it printed."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=quiet_environment(self.root),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def make_project(root: Path) -> MiniProject:
    """Write the project's files, and make it a git and a DVC repository."""
    root.mkdir(parents=True, exist_ok=True)
    for name in ("steps.py", "dvc.yaml"):
        shutil.copy(HERE / name, root / name)
    text = (REPOSITORY / "presets" / "tiny.yaml").read_text(encoding="utf-8")
    # Its weights are a number, and draw nothing.
    text = text.replace("smoke_pictures: 2 ", "smoke_pictures: 0 ")
    (root / "params.yaml").write_text(text, encoding="utf-8")
    (root / "source.txt").write_text("pictures", encoding="utf-8")
    (root / "code.py").write_text("# code that training depends on\n", encoding="utf-8")
    (root / ".gitignore").write_text("/data\n/models\n/reports\n/work\n", encoding="utf-8")
    (root / ".dvcignore").write_text("/work\n", encoding="utf-8")
    project = MiniProject(root)
    project.git("init", "-q", "-b", "main")
    project.git("config", "user.name", "Test")
    project.git("config", "user.email", "test@nadir.invalid")
    project.dvc("init", "-q")
    project.git("add", "-A")
    project.git("commit", "-q", "-m", "A miniature project")
    return project


@functools.cache
def template() -> Path:
    """The project as it is before its first run, made once for all tests of this process."""
    folder = Path(tempfile.mkdtemp(prefix="nadir-mini-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    project = make_project(folder / "project")
    with pytest.MonkeyPatch.context() as patch:
        # Whichever test comes first may have named a server's.
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        # MLflow takes seconds to make its tables; no run or experiment is in them.
        connect(project.root)
    return project.root


@functools.cache
def trained_template() -> Path:
    """The project after `dvc repro` without a tracker, made once for all tests of this process."""
    made = MiniProject(template().with_name("trained"))
    shutil.copytree(template(), made.root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NADIR_TRACKING", "none")
        made.dvc("repro")
    return made.root


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MiniProject:
    """The miniature project after a training that no tracker saw; the current folder."""
    return _copy(trained_template(), tmp_path, monkeypatch)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MiniProject:
    """The miniature project, before its first run; the current folder."""
    return _copy(template(), tmp_path, monkeypatch)


def _copy(template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MiniProject:
    for name in ("MLFLOW_TRACKING_URI", "NADIR_TRAINING_RUN", "NADIR_PIPELINE_RUN"):
        monkeypatch.delenv(name, raising=False)
    made = MiniProject(tmp_path / "project")
    shutil.copytree(template, made.root)
    monkeypatch.chdir(made.root)
    return made
