"""What DVC said is remembered exactly as long as it holds, and `nadir status` then needs no DVC."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.mini.project import MiniProject
from typer.testing import CliRunner

from nadir.cli import app
from nadir.ground.errors import NadirError
from nadir.pipeline import status
from nadir.pipeline.processes.process import quiet_environment
from nadir.pipeline.storage import known
from nadir.pipeline.storage.known import known_cache_folder

HEAVY = ("mlflow", "sqlalchemy", "pandas", "numpy", "pyarrow", "dvc.repo", "prefect", "torch")
PROGRAM = (
    "import sys\nfrom nadir.cli import main\n"
    "try:\n    main()\nexcept SystemExit:\n    pass\n"
    f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)"
)


def read(root: Path) -> dict[str, Any]:
    return {row["name"]: row["differs"] for row in status.read_status(root)["stages"]}


def test_outputs_are_asked_about_again_after_each_kind_of_change(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    really = known.outputs_that_differ

    def count(repo: Any) -> dict[str, dict[str, str]]:
        asked.append(1)
        return really(repo)

    monkeypatch.setattr(known, "outputs_that_differ", count)
    assert read(trained.root)["encode"] == []
    assert read(trained.root)["encode"] == []
    assert len(asked) == 1
    latent = trained.root / "data/latents/a-b"
    text = latent.read_bytes()
    latent.unlink()  # it shares its content with DVC's cache
    latent.write_bytes(text[::-1])
    for _ in range(2):
        assert read(trained.root)["encode"] == ["data/latents"]
    assert len(asked) == 2
    latent.write_bytes(text)
    assert read(trained.root)["encode"] == []
    (trained.root / "data/latents/new").write_text("more")
    assert read(trained.root)["encode"] == ["data/latents"]
    (trained.root / "data/latents/new").unlink()
    lock = trained.root / "dvc.lock"
    lock.write_text(lock.read_text().replace("md5: ", "md5: 0", 1))
    read(trained.root)
    assert len(asked) == 5
    (trained.root / "work/pipeline/outputs.json").write_text('{"of": 1')
    read(trained.root)
    assert len(asked) == 6, "a torn file is no answer"
    trained.dvc("repro")
    status.read_status(trained.root, outputs_are_known=True)
    read(trained.root)
    assert len(asked) == 6, "a run without news has told it"


def test_the_caches_place_is_asked_for_again_when_settings_change(trained: MiniProject) -> None:
    asked: list[Path] = []

    def ask() -> Path:
        asked.append(Path("/cache"))
        return asked[-1]

    for _ in range(2):
        assert known_cache_folder(trained.root, ask) == Path("/cache")
    assert len(asked) == 1
    (trained.root / ".dvc/config.local").write_text("[cache]\n    dir = /elsewhere\n")
    known_cache_folder(trained.root, ask)
    assert len(asked) == 2


def test_status_loads_no_library_where_nothing_is_new(trained: MiniProject) -> None:
    status.read_status(trained.root)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "status"],
        cwd=trained.root,
        env=quiet_environment(trained.root),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "up to date" in done.stdout, done.stderr
    assert done.stderr.splitlines()[-1] == "[]"


def test_several_workspaces_stand_side_by_side_and_a_broken_one_hides_none(
    trained: MiniProject, tmp_path: Path
) -> None:
    broken = MiniProject(tmp_path / "<b>[red]x")
    broken.root.mkdir()
    for name in ("dvc.yaml", "params.yaml"):
        (broken.root / name).write_text("stages: 3\n")
    folders = [str(trained.root), str(broken.root)]
    alone = status.read_status(trained.root)
    done = CliRunner().invoke(app, ["status", "--json", *folders])
    good, bad = json.loads(done.stdout)
    assert {key: good[key] for key in alone} == alone
    assert good["error"] is None
    assert "names no stages" in bad["error"]
    table = CliRunner().invoke(app, ["status", *folders], env={"COLUMNS": "220"}).stdout
    (line,) = (x for x in table.splitlines() if x.startswith(str(trained.root)))
    assert "5 of 6, next register" in line
    assert "3 steps" in line
    assert f"{broken.root}: " in table
    done = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert isinstance(done.exception, NadirError)
    assert "no clone of Nadir" in str(done.exception)
