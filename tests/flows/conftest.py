"""The miniature project these tests run in, and servers for a run of it that lasts."""

from collections.abc import Iterator

import pytest
from ruamel.yaml import YAML
from tests.mini.project import MiniProject, project, trained
from tests.support.prefect_database import _prefect_has_its_tables, prefect_database
from tests.support.prefect_servers import Servers, prefect_servers

__all__ = ["_prefect_has_its_tables", "prefect_database", "project", "trained"]

# The stage `base_model` of a test: it goes on when it is told to.
WAITS = """
import pathlib, time
pathlib.Path("started").touch()
while not pathlib.Path("go").exists():
    time.sleep(0.1)
pathlib.Path("models/base/vae").mkdir(parents=True, exist_ok=True)
pathlib.Path("models/base/vae/w").write_text("1")
"""


@pytest.fixture
def waiting_servers(
    project: MiniProject,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Servers]:
    """Of the project, whose stage `base_model` waits for the file `go`."""
    (project.root / "waits.py").write_text(WAITS, encoding="utf-8")
    path, yaml = project.root / "dvc.yaml", YAML()
    tree = yaml.load(path)
    tree["stages"]["base_model"]["cmd"] = "python waits.py"
    yaml.dump(tree, path)
    with prefect_servers(project, monkeypatch) as made:
        yield made
