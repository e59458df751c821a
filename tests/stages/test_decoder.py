"""Stage decoder: off it costs nothing; on it writes a decoder that fits, also after a kill."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
import torch
from ruamel.yaml import YAML
from safetensors.torch import load_file
from tests.support.encode_project import SIZES, describe, paint
from tests.support.training_project import make_base

from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.ground.events import read_events
from nadir.ground.files import read_json
from nadir.model.checkpoint.decoder_weights import decoder_parameters, put_decoder
from nadir.model.sdxl.hashing import encoder_hash
from nadir.model.sdxl.networks import load_vae
from nadir.stages.decoder import main

if TYPE_CHECKING:
    from collections.abc import Callable

DVC_YAML = """\
stages:
  decoder:
    cmd: python -m nadir.stages.decoder
    params: [decoder, validate.alpha_background]
    deps: [data/manifest.parquet, data/buckets.parquet, models/base/vae]
    outs: [models/decoder]
"""
SETTINGS: dict[str, Any] = {"steps": 8, "batch_size": 2, "crop_px": 24, "checkpoint_every": 2}
WEIGHTS = "models/decoder/decoder.safetensors"


@pytest.fixture(scope="module")
def make_project(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    base = make_base(tmp_path_factory.mktemp("base") / "base")
    yaml = YAML()

    def make(**decoder: Any) -> Path:
        folder = tmp_path_factory.mktemp("project")
        (folder / "dvc.yaml").write_text(DVC_YAML, encoding="utf-8")
        tree = yaml.load((Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8"))
        tree["decoder"].update(SETTINGS | decoder)
        tree["compute"]["device"] = "cpu"
        with (folder / "params.yaml").open("w", encoding="utf-8") as file:
            yaml.dump(tree, file)
        (folder / "models").mkdir()
        (folder / "models/base").symlink_to(base)
        for number, size in enumerate(SIZES):
            paint(folder, number, size)
        describe(folder)
        split(folder, "holdout", *["train"] * (len(SIZES) - 1))
        return folder

    return make


def split(project: Path, *names: str) -> None:
    """Give the images, in their order, these splits."""
    manifest = read_table(project / "data/manifest.parquet", MANIFEST)
    column = manifest.column_names.index("split")
    changed = manifest.set_column(column, "split", pa.array(names))
    write_table(changed, project / "data/manifest.parquet", MANIFEST)


@pytest.fixture(scope="module")
def whole(make_project: Callable[..., Path]) -> Path:
    """A project whose stage ran through at once."""
    project = make_project()
    run(project)
    return project


def run(project: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        patch.setenv("NADIR_EVENTS", str(project / "events.jsonl"))
        main()


def start(project: Path) -> subprocess.Popen[bytes]:
    """The stage as DVC starts it, with as many threads as this process has."""
    with (project / "log.txt").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "nadir.stages.decoder"],
            cwd=project,
            env={**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())},
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def log_of(project: Path) -> str:
    return (project / "log.txt").read_text(encoding="utf-8")


def test_off_it_writes_a_note_and_does_not_even_import_torch(
    make_project: Callable[..., Path],
) -> None:
    project = make_project(steps=0)
    program = (
        "import sys; from nadir.stages.decoder import main; main(); "
        "print(sorted({'torch', 'pyarrow', 'diffusers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=project, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "decoder: decoder.steps is 0, so the base's decoder stays",
        "[]",
    ]
    assert [path.name for path in (project / "models/decoder").iterdir()] == ["decoder.json"]
    assert read_json(project / "models/decoder/decoder.json") == {"steps": 0}
    assert not (project / "work").exists()


def test_on_it_writes_the_decoder_alone_and_what_it_is_worth(whole: Path) -> None:
    vae = load_vae(whole / "models/base")
    weights = load_file(whole / WEIGHTS)
    assert set(weights) == set(decoder_parameters(vae))
    assert any(not torch.equal(weights[n], w) for n, w in decoder_parameters(vae).items())
    encoder = encoder_hash(vae)
    put_decoder(vae, whole / WEIGHTS)
    assert encoder_hash(vae) == encoder
    facts = read_json(whole / "models/decoder/decoder.json")
    assert facts["encoder_hash"] == encoder
    assert (facts["steps"], facts["training_images"]) == (8, len(SIZES) - 1)
    heldout = facts["heldout"]
    assert heldout["images"] == 1
    for name in ("psnr_db", "blockiness"):
        assert heldout[f"{name}_before"] != heldout[f"{name}_after"]
    assert not list((whole / "work/decoder").iterdir())
    events, _ = read_events(whole / "events.jsonl")
    (result,) = [event for event in events if event["kind"] == "result"]
    assert result["psnr_db_after"] == heldout["psnr_db_after"]


def test_a_killed_stage_goes_on_to_the_same_bits(
    make_project: Callable[..., Path], whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project = make_project()
    process = start(project)
    while not list(project.glob("work/decoder/*/states/step-*/manifest.json")):
        assert process.poll() is None, log_of(project)
        time.sleep(0.005)
    process.kill()
    process.wait()
    assert not (project / WEIGHTS).exists()
    run(project)
    assert "decoder: going on from step" in capsys.readouterr().out
    for name in ("decoder.safetensors", "decoder.json"):
        both = [folder / "models/decoder" / name for folder in (whole, project)]
        assert both[0].read_bytes() == both[1].read_bytes(), name


def test_without_held_out_images_nothing_is_measured(
    make_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = make_project(steps=1)
    split(project, *["train"] * len(SIZES))
    monkeypatch.chdir(project)
    main()
    assert read_json(project / "models/decoder/decoder.json")["heldout"] is None
    assert "no held-out images to measure it on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "splits", "text"),
    [
        ({"crop_px": 64}, None, "of the 4 training images none is larger than 32 pixels"),
        ({}, ["holdout"] * len(SIZES), "there is no training image to train the decoder on"),
    ],
)
def test_images_that_give_no_crop_are_one_error(
    make_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    settings: dict[str, Any],
    splits: list[str] | None,
    text: str,
) -> None:
    project = make_project(**settings)
    if splits:
        split(project, *splits)
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert text in error
    assert error.count("error: ") == 1
    assert not (project / "models/decoder").exists()


def test_an_image_that_has_changed_is_one_error(
    make_project: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    project = make_project()
    shutil.rmtree(project / "data/sample")
    monkeypatch.chdir(project)
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.count("error: ") == 1
