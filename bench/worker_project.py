"""The tests' small project as a deployment that a real worker of the whole server stack runs."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Any

import psutil
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from ruamel.yaml import YAML
from tests.mini.project import make_project
from tests.support.stack import RunningStack

from nadir.tracking.lock_file import output_hashes, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from uuid import UUID

COMPARED = ("data", "models", "reports")
HEARTBEAT_S = 30
_YAML = YAML(typ="safe")


class Project:
    """The small project in the clone that the stack's worker runs in."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.stack = RunningStack(make_project(self.root))
        path = self.root / "prefect.yaml"
        tree = _YAML.load(path)
        (nightly,) = [each for each in tree["deployments"] if each["name"] == "nightly"]
        nightly |= {"schedules": []}
        variables = nightly["work_pool"]["job_variables"]["env"]
        variables["PREFECT_FLOWS_HEARTBEAT_FREQUENCY"] = str(HEARTBEAT_S)
        _YAML.dump({**tree, "deployments": [nightly]}, path)
        ignored = self.root / ".gitignore"
        ignored.write_text(ignored.read_text() + "/.env\n", encoding="utf-8")
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "The server stack's files")
        self._plain = (self.root / "params.yaml").read_text(encoding="utf-8")
        self.model = ""
        self._made = 0

    def git(self, *words: str) -> str:
        """Run git in it."""
        return self.stack.project.git(*words)

    def renew(self) -> None:
        """As before its first run, with a model and an experiment of its own in the registry."""
        self.git("clean", "-fdxq", "-e", "/.env")
        self._made += 1
        self.model = f"nadir-{self._made}"
        tree = _YAML.load(self._plain)
        tree["register"] |= {"model_name": self.model, "experiment": self.model}
        _YAML.dump(tree, self.root / "params.yaml")

    def left(self) -> dict[str, Any]:
        """What a run leaves: files, hashes, and the registry's content, without ids of runs."""
        files = [f for name in COMPARED for f in (self.root / name).rglob("*") if f.is_file()]
        found: dict[str, Any] = {str(f.relative_to(self.root)): f.read_bytes() for f in files}
        run = json.loads(found.pop("models/run.json"))
        hashes = output_hashes(read_lock(self.root))
        hashes.pop("models/run.json")
        found |= {"fingerprint": run["fingerprint"], "dvc.lock": hashes}
        return found | {"registry": self._registry()}

    @contextlib.contextmanager
    def client(self) -> Iterator[None]:
        """Prefect's clients of this process speak with the stack's server."""
        login = self.stack.login
        here = {
            PREFECT_API_URL: login["PREFECT_API_URL"],
            PREFECT_API_AUTH_STRING: login["PREFECT_API_AUTH_STRING"],
        }
        with temporary_settings(here):
            yield

    def state(self, run: UUID) -> str:
        """What Prefect says of a run."""
        found = self.stack.rows("prefect", "select id::text, state_type::text from flow_run")
        return str(dict(found)[str(run)])

    def _registry(self) -> dict[str, Any]:
        versions = "select version from model_versions where name = '{}'"
        aliases = "select alias, version from registered_model_aliases where name = '{}' order by 1"
        runs = (
            "select count(*) from runs join experiments using (experiment_id) "
            "where experiments.name = '{}' and runs.status in ('RUNNING', 'SCHEDULED')"
        )
        asked = {"versions": versions, "aliases": aliases, "open runs": runs}
        return {k: self.stack.rows("mlflow", q.format(self.model)) for k, q in asked.items()}


def worker(stack: RunningStack) -> psutil.Process | None:
    """The stack's worker."""
    starter = stack.process
    for process in psutil.Process(starter.pid).children(recursive=True) if starter else []:
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if words[2:4] == ["worker", "start"]:
                return process
    return None


def flow(stack: RunningStack) -> psutil.Process | None:
    """The process of the worker's flow."""
    found = worker(stack)
    with contextlib.suppress(psutil.Error):
        for process in found.children() if found else []:
            if any("engine" in word for word in process.cmdline()):
                return process
    return None
