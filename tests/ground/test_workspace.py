"""Where a project may lie."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded, project_root


def make(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        (folder / name).touch()
    return folder


REFUSED = [
    "{y}",
    "a{",
    "a}b",
    "a?b",
    "a'b\"c",
    "two\nlines",
    "\x1b[31m",
    "\x7f",
    os.fsdecode(b"\xff"),
]


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("below", ["", "project"])
def test_a_place_that_the_tools_cannot_work_in_is_refused_in_one_line(
    tmp_path: Path, name: str, below: str
) -> None:
    with pytest.raises(NadirError, match="the path of the project holds") as told:
        project_root(make(tmp_path / name / below))
    what, fix = str(told.value).splitlines()
    assert (what + fix).isprintable()
    assert "rename that folder" in fix


@pytest.mark.parametrize(
    "name", ["my project", "100%", "a%25b", "#1 [x] (y) & 'z' $s; é:+*\\|<>^!@=,~", 'a"b']
)
def test_other_names_are_welcome(tmp_path: Path, name: str) -> None:
    root = make(tmp_path / name)
    assert project_root(root) == root


def test_a_path_that_no_database_could_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NadirError, match=r"longer than 400 bytes.*\n.*a shorter path"):
        project_root(make(tmp_path / ("é" * 120) / ("y" * 200)))


def test_a_name_is_read_as_utf8_whatever_the_locale(tmp_path: Path) -> None:
    root = make(tmp_path / "é")
    code = "from nadir.ground.workspace import project_root; print(ascii(project_root().name))"
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    told = subprocess.check_output([sys.executable, "-c", code], cwd=root, env=environment)
    assert told == b"'\\udcc3\\udca9'\n", "the name cannot be decoded there, and is not a fault"


@pytest.mark.parametrize(
    ("location", "why"),
    [
        ("~nobody-of-this-name/x", "user who does not exist"),
        ("x" * 256, "longer than a path can be"),
        ("x/" * 2048, "longer than a path can be"),
        ("~/a\0b", "zero byte"),
    ],
)
def test_a_path_that_cannot_be_is_one_error(location: str, why: str) -> None:
    with pytest.raises(NadirError, match=why):
        expanded(location)


def test_a_path_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert [str(expanded(text)) for text in ("~/a", "a/~", "x" * 255)] == [
        "/home/me/a",
        "a/~",
        "x" * 255,
    ]
