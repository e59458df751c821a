"""Another adapter under the name that `train.adapter.from` has trains anew."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tests.mini.project import MiniProject
from tests.support.hostile import encoded, picture

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json
from nadir.stages import ingest
from nadir.stages.adapter import require_adapter_as_listed
from nadir.tracking.lock_file import stage_definitions

DVC_YAML = """\
stages:
  ingest:
    cmd: {python} -m nadir.stages.ingest
    always_changed: true
    params: [ingest]
    outs: [data/listing.parquet, data/adapter.json]
  train:
    cmd: echo trained >> trainings && mkdir -p models && cp data/adapter.json models/made
    params: [train]
    deps: [data/adapter.json]
    outs: [models/made]
"""


@pytest.fixture
def home(tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> MiniProject:
    """The real `ingest`, before a training that only counts itself."""
    (tmp_path / "dvc.yaml").write_text(DVC_YAML.format(python=sys.executable), encoding="utf-8")
    yaml = YAML()
    tree = yaml.load(params_text)
    tree["ingest"]["source"] = "images"
    tree["train"]["adapter"] = {"kind": "lora", "rank": 4, "from": "mine"}
    yaml.dump(tree, tmp_path / "params.yaml")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/0.png").write_bytes(encoded(picture(0), "PNG"))
    (tmp_path / "mine").mkdir()
    monkeypatch.chdir(tmp_path)
    project = MiniProject(tmp_path)
    project.git("init", "-q")
    project.dvc("init", "-q")
    return project


def write(root: Path, content: bytes) -> None:
    """Of the same size and time, so that only the content tells."""
    file = root / "mine/adapter.safetensors"
    file.write_bytes(content)
    os.utime(file, (1, 1))


def trainings(home: MiniProject) -> int:
    home.dvc("repro")
    return len((home.root / "trainings").read_text().splitlines())


def test_another_content_of_the_adapter_trains_anew(home: MiniProject) -> None:
    write(home.root, b"first")
    assert trainings(home) == 1
    assert trainings(home) == 1
    write(home.root, b"other")
    with pytest.raises(NadirError, match="has changed since `ingest` looked at it"):
        require_adapter_as_listed()
    assert trainings(home) == 2
    require_adapter_as_listed()


def test_a_missing_adapter_is_an_error_before_anything_is_read(home: MiniProject) -> None:
    with pytest.raises(NadirError, match="there is no adapter here"):
        ingest.work()
    assert not (home.root / "data/listing.parquet").exists()


def test_without_an_adapter_its_hash_is_null(home: MiniProject) -> None:
    text = (home.root / "params.yaml").read_text(encoding="utf-8")
    assert "from: mine" in text
    (home.root / "params.yaml").write_text(text.replace("from: mine", "from: null"))
    ingest.work()
    assert read_json(artifacts.ADAPTER) == {"sha256": None}
    require_adapter_as_listed()


def test_train_depends_on_what_ingest_leaves(root: Path) -> None:
    stages = stage_definitions(root)
    assert str(artifacts.ADAPTER) in stages["ingest"]["outs"]
    assert str(artifacts.ADAPTER) in stages["train"]["deps"]
