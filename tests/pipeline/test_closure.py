"""`dvc.yaml` lists the code that its stages run, since DVC follows no import."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from nadir.ground.errors import NadirError
from nadir.pipeline.code_dependencies import code_dependencies, stage_code
from nadir.tracking.lock_file import load_yaml

FILES = {
    "nadir/__init__.py": '"""Docstring."""\n__version__ = "1"\n',
    "nadir/room/__init__.py": '"""Docstring."""\n',
    "nadir/loud/__init__.py": "import nadir.room.a\n",
    "nadir/loud/quiet.py": "x = 1\n",
    "nadir/room/a.py": "from nadir.room import b\n",
    "nadir/room/b.py": "y = 1\n",
    "nadir/room/typed.py": "z = 1\n",
    "nadir/room/late.py": "z = 1\n",
    "nadir/room/launched.py": "z = 1\n",
    "nadir/room/unused.py": "z = 1\n",
    "nadir/tracking/runs/pipeline_run.py": "from nadir.room import unused\n",
    "nadir/room/templates/page.html": '{% extends "frame.html" %}\n',
    "nadir/room/templates/frame.html": "<html>\n",
    "nadir/room/templates/other.html": "<html>\n",
    "nadir/stages/work.py": """
from __future__ import annotations
from typing import TYPE_CHECKING
from nadir.loud.quiet import x
import nadir.tracking.runs.pipeline_run
if TYPE_CHECKING:
    from nadir.room.typed import z

def work():
    from nadir.room.late import z
    return ["python", "-m", "nadir.room.launched", "page.html"]
""",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "src" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path / "src"


def test_the_closure_is_what_a_run_may_load(source: Path) -> None:
    found = [path.as_posix() for path in code_dependencies("nadir.stages.work", source)]
    assert found == [
        "src/nadir/loud/__init__.py",
        "src/nadir/loud/quiet.py",
        "src/nadir/room/a.py",
        "src/nadir/room/b.py",
        "src/nadir/room/late.py",
        "src/nadir/room/launched.py",
        "src/nadir/room/templates/frame.html",
        "src/nadir/room/templates/page.html",
        "src/nadir/stages/work.py",
    ]


def test_an_unknown_module_is_named(source: Path) -> None:
    with pytest.raises(NadirError, match=r"no module `nadir\.stages\.nothing`"):
        code_dependencies("nadir.stages.nothing", source)


def test_dvc_yaml_lists_the_code_of_every_stage(root: Path) -> None:
    stages = load_yaml(root / "dvc.yaml")["stages"]
    for name, files in stage_code(root).items():
        listed = [dep for dep in stages[name].get("deps", []) if dep.startswith("src/")]
        assert listed == files, f"{name}: run `make deps`"


def test_every_stage_has_a_closure_and_no_stage_depends_on_what_only_watches(root: Path) -> None:
    code = stage_code(root)
    assert set(code) == set(load_yaml(root / "dvc.yaml")["stages"])
    for files in code.values():
        assert "src/nadir/stages/runner.py" in files
        assert not [
            name for name in files if name.startswith(("src/nadir/tracking", "src/nadir/pipeline"))
        ]


def test_rewriting_keeps_comments_order_and_other_dependencies(root: Path) -> None:
    path = root / "scripts" / "sync_stage_deps.py"
    spec = importlib.util.spec_from_file_location("sync_stage_deps", path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    text = (
        "# a comment\nstages:\n  a:\n    cmd: x\n    params: [a]\n    outs: [o]\n\n"
        "  b:\n    cmd: y\n    deps: [o, src/old.py]\n"
    )
    new = script.synced(text, {"a": ["src/a.py"], "b": ["src/b.py"]})
    assert new.startswith("# a comment\n")
    assert new.index("params") < new.index("deps") < new.index("outs")
    assert "src/old.py" not in new
    assert "      - o\n      - src/b.py\n" in new
    assert script.synced(new, {"a": ["src/a.py"], "b": ["src/b.py"]}) == new
