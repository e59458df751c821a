"""The secrets of the server stack: of chance, the owner's alone, never written over."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest


def make(root: Path, path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, root / "scripts/make_secrets.py", path],
        capture_output=True,
        text=True,
        check=False,
    )


def values(path: Path) -> dict[str, str]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if not line.startswith("#"))


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_secrets_are_of_chance_and_their_owners_alone(
    root: Path, tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        done = [make(root, tmp_path / name) for name in ("a", "b")]
    finally:
        os.umask(before)
    assert [run.returncode for run in done] == [0, 0], done
    first, second = values(tmp_path / "a"), values(tmp_path / "b")
    for name in (name for name in first if not name.startswith("NADIR_")):
        assert first[name] != second[name]
        # Parts of addresses, in which other characters mean something.
        assert re.fullmatch(r"[A-Za-z0-9_-]{20,}", first[name])
        assert all(first[name] not in run.stdout + run.stderr for run in done)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o600
    assert (first["NADIR_UID"], first["NADIR_GID"]) == (str(os.getuid()), str(os.getgid()))


def test_secrets_that_are_there_stay(root: Path, tmp_path: Path) -> None:
    made = tmp_path / ".env"
    assert make(root, made).returncode == 0
    before = made.read_text(encoding="utf-8")
    done = make(root, made)
    assert done.returncode == 1
    assert "there are secrets already" in done.stderr
    assert made.read_text(encoding="utf-8") == before
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere")
    done = make(root, link)
    assert done.returncode == 1
    assert "no file of secrets" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "nowhere").exists()


def test_a_file_of_an_earlier_version_gets_what_it_lacks(root: Path, tmp_path: Path) -> None:
    made = tmp_path / ".env"
    made.write_text("# mine\nPOSTGRES_PASSWORD=old\nS3_ACCESS_KEY=key", encoding="utf-8")
    done = make(root, made)
    assert done.returncode == 0
    assert "added S3_SECRET_KEY, MLFLOW_ADMIN_PASSWORD" in done.stdout
    assert made.read_text(encoding="utf-8").startswith(
        "# mine\nPOSTGRES_PASSWORD=old\nS3_ACCESS_KEY=key\nS3_SECRET_KEY="
    )
    found = values(made)
    assert len(found["MLFLOW_ADMIN_PASSWORD"]) >= 20
    assert found["MLFLOW_ADMIN_PASSWORD"] not in done.stdout


def test_a_folder_that_is_not_there_is_one_clear_error(root: Path, tmp_path: Path) -> None:
    done = make(root, tmp_path / "missing/.env")
    assert done.returncode == 1
    assert "the secrets cannot be written (No such file or directory)" in done.stderr
    assert "Traceback" not in done.stderr


def test_they_are_what_the_stack_asks_for_and_the_example_has_none(
    root: Path, tmp_path: Path
) -> None:
    assert make(root, tmp_path / ".env").returncode == 0
    made = values(tmp_path / ".env")
    compose = (root / "docker-compose.yml").read_text(encoding="utf-8")
    asked = set(re.findall(r"\$\{(\w+):\?", compose))
    assert asked == {name for name in made if not name.startswith("NADIR_")}
    example = values_of_example(root)
    assert set(made) <= set(example)
    assert {name for name, value in example.items() if value} == {"NADIR_UID", "NADIR_GID"}


def values_of_example(root: Path) -> dict[str, str]:
    lines = (root / ".env.example").read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
