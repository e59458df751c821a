"""The ingest stage lists the source the parameters name."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from tests.hostile import encoded, picture

from nadir.data import tables
from nadir.stages import ingest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def project(tmp_path: Path, root: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose source is `images`, with two tagged images."""
    shutil.copy(root / "dvc.yaml", tmp_path)
    text = params_text.replace("source: data/sample", "source: images")
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "images").mkdir()
    for index in range(2):
        (tmp_path / "images" / f"{index}.png").write_bytes(encoded(picture(index), "PNG"))
        (tmp_path / "images" / f"{index}.txt").write_text("1girl, solo")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stage(project: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nadir.stages.ingest"]
    return subprocess.run(
        command,
        cwd=project,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_listing_names_each_image_and_its_tags(project: Path) -> None:
    events = project / "events.jsonl"
    done = stage(project, NADIR_EVENTS=str(events))
    assert done.returncode == 0, done.stderr
    assert "ingest: 2 images" in done.stdout
    rows = tables.read_table(project / "data/listing.parquet", tables.LISTING).to_pylist()
    assert [(row["path"], row["tags_path"]) for row in rows] == [
        ("0.png", "0.txt"),
        ("1.png", "1.txt"),
    ]
    results = [json.loads(line) for line in events.read_text().splitlines()]
    result = next(event for event in results if event["kind"] == "result")
    assert (result["images"], result["with_tag_file"]) == (2, 2)


def test_an_unchanged_source_gives_equal_bytes_wherever_it_lies(project: Path) -> None:
    ingest.work()
    first = (project / "data/listing.parquet").read_bytes()
    ingest.work()
    assert (project / "data/listing.parquet").read_bytes() == first
    (project / "images").rename(project / "elsewhere")
    text = (project / "params.yaml").read_text().replace("source: images", "source: elsewhere")
    (project / "params.yaml").write_text(text)
    ingest.work()
    assert (project / "data/listing.parquet").read_bytes() == first


def test_dvcs_temporary_experiments_read_the_main_workspaces_source(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = project / ".dvc/tmp/exps/tmp1"
    temporary.mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(project / name, temporary)
    monkeypatch.chdir(temporary)
    ingest.work()
    assert tables.read_table(temporary / "data/listing.parquet", tables.LISTING).num_rows == 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shutil.rmtree, "images does not exist"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no image files in"),
    ],
)
def test_a_missing_or_empty_folder_is_one_clear_error(
    project: Path, spoil: object, message: str
) -> None:
    assert callable(spoil)
    spoil(project / "images")
    done = stage(project)
    assert done.returncode == 1
    assert done.stderr.startswith("error: params.yaml ingest.source: ")
    assert message in done.stderr
    assert "fix: set it to a folder with images" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (project / "data/listing.parquet").exists()
