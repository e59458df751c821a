"""`nadir plan` on a project whose data stages have run, and on presets."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from tests.support.training_project import make_base, write_project
from typer.testing import CliRunner

from nadir.cli import app
from nadir.config.edit import read_params
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.tables import BUCKETS, LATENT_INDEX, read_table, write_table
from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.planning.measured import keep_measured
from nadir.planning.memory import DEVICE_LIBRARIES, GIB
from nadir.training.text_states.store import state_bytes

ROOT = Path(__file__).resolve().parents[2]


def plan(*options: str) -> str:
    done = CliRunner().invoke(app, ["plan", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


def as_json(*options: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(plan("--json", *options))
    return found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a training reads, in a repository of git and DVC."""
    base = make_base(tmp_path_factory.mktemp("base") / "base")
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    folder = tmp_path_factory.mktemp("p") / "project"
    write_project(folder, base=base, params_text=params)
    for command in (["git", "init", "--quiet"], [sys.executable, "-m", "dvc", "init", "--quiet"]):
        subprocess.run(command, cwd=folder, check=True)
    return folder


@pytest.fixture
def project(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(home)
    return home


def test_a_plan_adds_up(project: Path) -> None:
    found = as_json()
    buckets = found["work"]["buckets"]
    assert sum(bucket["batches"] for bucket in buckets) == found["steps"]
    assert sum(b["batches"] * b["batch"] for b in buckets) == found["work"]["shown"]
    assert sum(bucket["images"] for bucket in buckets) == found["work"]["images"]
    parts = found["memory"]["step"]
    assert found["host_bytes"] >= sum(part["device"] for part in parts)
    assert found["disk"]["latents"] > 0
    text = plan()
    assert f"{found['work']['images']:,} training images" in text
    assert "optimizer state" in text


def test_before_images_are_encoded_buckets_tell(project: Path, tmp_path: Path) -> None:
    encoded = as_json()["work"]
    latents = read_table(project / artifacts.LATENTS / "index.parquet", LATENT_INDEX).to_pandas()
    rest = {"resize_width": 64, "resize_height": 64, "retained_area": 1.0}
    buckets = latents.assign(**rest)[BUCKETS.names]
    write_table(pa.Table.from_pandas(buckets, BUCKETS), project / artifacts.BUCKETS, BUCKETS)
    (project / artifacts.LATENTS).rename(tmp_path / "latents")
    try:
        assert as_json()["work"] == encoded
        (project / artifacts.BUCKETS).unlink()
        assert as_json()["work"] is None
    finally:
        (tmp_path / "latents").rename(project / artifacts.LATENTS)


def test_what_has_not_run_is_to_run(project: Path) -> None:
    assert as_json()["stages_to_run"] == ["train"]
    assert "stages to run  train" in plan()


def test_the_time_is_of_a_check_of_the_same_settings(project: Path) -> None:
    assert "nadir train --check" in plan()
    train = read_section("train", TrainParams)
    facts = {"device": "cpu", "processes": 1, "steps": [{"seconds": 9.0}, {"seconds": 3.0}]}
    keep_measured(project, train, facts)
    assert as_json()["step_seconds"] == 3.0
    keep_measured(project, train.model_copy(update={"batch_size": 999}), facts)
    assert as_json()["step_seconds"] is None


def test_a_checkpoint_that_is_written_in_the_background_has_a_copy(project: Path) -> None:
    found, text = as_json(), plan()
    assert found["memory"]["copy_bytes"] == found["memory"]["state_bytes"] > 0
    assert "a checkpoint's copy" in text
    params = project / "params.yaml"
    known = params.read_text(encoding="utf-8")
    waits = known.replace("checkpoint_in_background: true", "checkpoint_in_background: false")
    params.write_text(waits, encoding="utf-8")
    try:
        without = as_json()
    finally:
        params.write_text(known, encoding="utf-8")
    assert found["host_bytes"] - without["host_bytes"] == found["memory"]["copy_bytes"]


def test_one_process_has_nobody_to_share_a_model_with(project: Path, tmp_path: Path) -> None:
    alone = (ROOT / "presets/sdxl.yaml").read_text(encoding="utf-8")
    alone = alone.replace("parallel: ddp", "parallel: fsdp")
    (tmp_path / "alone.yaml").write_text(alone, encoding="utf-8")
    done = CliRunner().invoke(app, ["plan", "--params", str(tmp_path / "alone.yaml")])
    assert isinstance(done.exception, NadirError)
    assert done.exception.where == "params.yaml train.parallel"


def test_kept_text_states_take_disk_and_no_device_during_the_steps(project: Path) -> None:
    params = project / "params.yaml"
    known = params.read_text(encoding="utf-8")
    params.write_text(re.sub("text_cache:.*", "text_cache: 3", known), encoding="utf-8")
    try:
        found, text = as_json(), plan()
    finally:
        params.write_text(known, encoding="utf-8")
    row = found["memory"]["text_row_bytes"]
    assert row == (77 * 16 + 8) * 2
    assert found["disk"]["text_states"] == (3 * found["work"]["images"] + 1) * row
    assert "a caption, latents" in text
    without = as_json()
    assert without["disk"]["text_states"] == without["memory"]["text_row_bytes"] == 0
    moments = found["memory"]
    places = [
        [part for part in moments[name] if part["name"] == "text encoders"]
        for name in ("step", "captions")
    ]
    assert [(part["device"] > 0, part["host"] > 0) for (part,) in places] == [
        (False, True),
        (True, True),
    ]
    assert state_bytes(77, 2048, 1280) == 317_952  # of SDXL's own


@pytest.mark.parametrize(
    ("name", "card_gib"), [("sdxl_12gb", 12), ("sdxl_lora_8gb", 8), ("sdxl_24gb", 24)]
)
def test_presets_fit_their_cards(name: str, card_gib: int, project: Path) -> None:
    found = as_json("--params", str(ROOT / f"presets/{name}.yaml"))
    assert found["work"] is None
    moments = [found["memory"][name] for name in ("step", "captions", "previews")]
    fullest = max(sum(part["device"] for part in parts) for parts in moments)
    assert fullest + DEVICE_LIBRARIES < card_gib * GIB


def test_presets_of_one_model_differ_in_training_and_machine_alone() -> None:
    first = read_params(ROOT / "presets/sdxl.yaml").model_dump()
    for name in ("sdxl_24gb", "sdxl_12gb", "sdxl_lora_8gb", "sdxl_8x80gb"):
        other = read_params(ROOT / f"presets/{name}.yaml").model_dump()
        different = {section for section in first if first[section] != other[section]}
        assert different <= {"train", "bucket", "compute"}
        assert first["train"]["caption"] == other["train"]["caption"]
