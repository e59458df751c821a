"""`nadir train --check` through the command, on a small project."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.training_project import make_base, write_project


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = make_base(tmp_path_factory.mktemp("base") / "base")
    params = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
    return write_project(tmp_path_factory.mktemp("p") / "project", base=base, params_text=params)


def check(project: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from nadir.cli import main; main()", "train", *options],
        cwd=project,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def files(project: Path) -> dict[str, bytes]:
    """Everything but the scratch that any training leaves, and what the check measured."""
    return {
        str(path.relative_to(project)): path.read_bytes()
        for path in project.rglob("*")
        if path.is_file() and not {"accelerate", "check.json"} & {*path.parts}
    }


def test_a_check_prints_one_table_and_changes_nothing(project: Path) -> None:
    before = files(project)
    done = check(project, "--check")
    assert done.returncode == 0, done.stderr
    table = dict(line.split("  ", 1) for line in done.stdout.splitlines() if "  " in line)
    rows = {name.strip(): text.strip() for name, text in table.items()}
    assert rows["data"] == "54 images in 2 buckets"
    assert rows["step 2"].startswith("loss ")
    assert "all equal to the bit" in rows["comparison"]
    changed, trained = rows["trained"].split(" of ")
    assert 0 < int(changed) <= int(trained.split()[0])
    assert "of main memory" in rows["peak memory"]
    assert rows["whole run"].startswith("12 steps")
    assert files(project) == before


def test_a_check_that_cannot_run_says_why_and_leaves_nothing(project: Path) -> None:
    before = files(project)
    asked = check(project)
    assert asked.returncode == 1
    assert "`nadir train` only checks" in asked.stderr
    (project / "data/tags.parquet").rename(project / "data/away.parquet")
    missing = check(project, "--check")
    (project / "data/away.parquet").rename(project / "data/tags.parquet")
    assert missing.returncode == 1
    assert "data/tags.parquet is missing" in missing.stderr
    assert files(project) == before
