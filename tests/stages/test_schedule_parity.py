"""One schedule from the first training step to the exported file, proven by the files.

A real training writes checkpoints, previews and an MLflow run; then the noise settings in
params.yaml are changed, and evaluation, generation and export run on what training left. Whoever
read the parameters again, or took a schedule of his own, would write another fingerprint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
import typer
from accelerate.state import AcceleratorState
from mlflow import MlflowClient
from safetensors import safe_open
from tests.support.training_project import make_base, write_project
from typer.testing import CliRunner

from nadir.cli.model.generate import generate
from nadir.config.edit import set_values
from nadir.config.noise import NoiseParams
from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.diffusion.loss_weight import loss_weight_table, weight_shares
from nadir.diffusion.schedule import NoiseSchedule
from nadir.ground.errors import NadirError
from nadir.ground.files import read_json, write_json
from nadir.ground.pages.pictures import read_facts
from nadir.model.checkpoint.scheduler import noise_of_scheduler
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.model.single_file.reading import import_single_file
from nadir.model.single_file.writing import export_single_file
from nadir.stages import evaluate
from nadir.tracking.runs.training_run import RUN_VARIABLE, open_run
from nadir.tracking.store.connection import connect
from nadir.training.main import make_accelerator, run_training
from nadir.training.stop_request import StopRequest

FINGERPRINT = "f" * 64
CHECKPOINT = Path("models/checkpoint")
OTHER_NOISE = ["noise.zero_terminal_snr=false", "noise.sigma_shift=3.0", "noise.beta_end=0.02"]
EVALUATE = [
    "evaluate.cfg_scales=[4.5]",
    "evaluate.steps=2",
    "evaluate.width_px=32",
    "evaluate.height_px=32",
    "evaluate.seeds=[1]",
    "evaluate.holdout_prompts=1",
    "evaluate.loss_images=2",
    "compute.device=cpu",
]


@dataclass(frozen=True)
class Trained:
    """A project with everything that a training and its followers leave."""

    root: Path
    schedule: NoiseSchedule
    noise: dict[str, Any]
    client: MlflowClient
    run_id: str


@pytest.fixture(scope="module", params=[{}, {"sigma_shift": 2.0, "prediction": "x0"}], ids=str)
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("parity")
    base = make_base(folder / "base")
    text = (Path(__file__).parents[2] / "params.yaml").read_text(encoding="utf-8")
    root = write_project(folder / "project", base=base, params_text=text)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        set_values([f"noise.{key}={value}" for key, value in request.param.items()] + EVALUATE)
        noise = read_section("noise", NoiseParams).model_dump()
        work = root / "work/training" / FINGERPRINT
        work.mkdir(parents=True)
        variables = open_run(work, FINGERPRINT, root)
        for name, value in variables.items():
            patch.setenv(name, value)
        params = read_section("train", TrainParams)
        run_training(work, FINGERPRINT, params, make_accelerator(params), StopRequest())
        shutil.copytree(work / "output/checkpoint", CHECKPOINT)
        set_values(OTHER_NOISE)
        _follow(noise)
        schedule = NoiseSchedule.from_settings(**noise)
        yield Trained(root, schedule, noise, connect(root), variables[RUN_VARIABLE])
    AcceleratorState._reset_state(reset_partial_state=True)


def _follow(noise: dict[str, Any]) -> None:
    """Evaluate, generate and export what was trained."""
    evaluate.work()
    app = typer.Typer()
    app.command()(generate)
    asked = ["1girl", "--model", str(CHECKPOINT), "--steps", "2", "--size", "32x32"]
    assert CliRunner().invoke(app, [*asked, "--output", "drawn.png"]).exit_code == 0
    if noise["prediction"] == "v":  # no marker can say anything else
        export_single_file(CHECKPOINT, Path("single.safetensors"))
        import_single_file(Path("single.safetensors"), Path("imported"))


def single_file_metadata(file: Path) -> dict[str, Any]:
    with safe_open(file, framework="pt") as opened:
        own: dict[str, Any] = json.loads(opened.metadata()["nadir"])
    return own


def fingerprint_of(config: Path) -> str:
    """Of the noise settings that a `scheduler_config.json` amounts to."""
    noise = noise_of_scheduler(read_json(config), where=str(config))
    return NoiseSchedule.from_settings(**noise).fingerprint


def fingerprints(trained: Trained, artifacts: Path) -> dict[str, str]:
    """What every file says, by file."""
    root, client, run_id = trained.root, trained.client, trained.run_id
    told = {"mlflow run": client.get_run(run_id).data.tags["training.noise_schedule"]}
    for state in root.glob("work/training/*/checkpoints/*/state.json"):
        told[f"resumable {state.parent.name}"] = read_json(state)["facts"]["noise_schedule"]
    checkpoint = read_json(root / CHECKPOINT / "nadir.json")
    told["checkpoint"] = checkpoint["schedule"]
    told["checkpoint, as trained"] = checkpoint["training"]["noise_schedule"]
    client.download_artifacts(run_id, "images", str(artifacts))
    for picture in artifacts.rglob("*.png"):
        told[f"preview {picture.name}"] = read_facts(picture)["schedule"]
    told["evaluation.json"] = read_json(root / "reports/evaluation.json")["sampling"]["schedule"]
    for picture in (root / "reports/samples").glob("prompt_*.png"):
        told[f"sample {picture.name}"] = read_facts(picture)["schedule"]
    told["generated picture"] = read_facts(root / "drawn.png")["schedule"]
    if (root / "single.safetensors").is_file():
        told["single file"] = single_file_metadata(root / "single.safetensors")["schedule"]
        told["single file, imported"] = fingerprint_of(
            root / "imported/scheduler/scheduler_config.json"
        )
        told["scheduler_config.json"] = fingerprint_of(
            root / CHECKPOINT / "scheduler/scheduler_config.json"
        )
    return told


def test_every_file_names_the_schedule_that_training_noised_with(
    trained: Trained, tmp_path: Path
) -> None:
    changed = read_section("noise", NoiseParams, trained.root / "params.yaml").model_dump()
    assert NoiseSchedule.from_settings(**changed).fingerprint != trained.schedule.fingerprint
    told = fingerprints(trained, tmp_path)
    assert {kind.split()[0] for kind in told} >= {
        "mlflow", "resumable", "checkpoint", "preview", "evaluation.json", "sample", "generated",
    }  # fmt: skip
    assert len([name for name in told if name.startswith("preview")]) == 3  # steps 0, 6, 12
    assert set(told.values()) == {trained.schedule.fingerprint}, told


def test_stock_diffusers_builds_that_table_from_the_checkpoint_folder(trained: Trained) -> None:
    index = read_json(trained.root / CHECKPOINT / "model_index.json")
    kind = getattr(diffusers, index["scheduler"][1])
    for stock in (kind, diffusers.DDIMScheduler):
        scheduler = stock.from_pretrained(trained.root / CHECKPOINT / "scheduler")
        # float32 products there; the terminal entry is a clamp in Euler
        torch.testing.assert_close(
            scheduler.alphas_cumprod[:-1].double(),
            trained.schedule.alphas_cumprod[:-1],
            rtol=5e-4,
            atol=0,
        )


def test_the_share_of_weight_of_each_sigma_band_is_a_metric_of_the_run(trained: Trained) -> None:
    weight = read_section("train", TrainParams, trained.root / "params.yaml").loss_weight
    weights_T = loss_weight_table(
        trained.schedule, weight.name, prediction=trained.noise["prediction"], gamma=weight.gamma
    )
    expected = weight_shares(trained.schedule, weights_T)
    run = trained.client.get_run(trained.run_id).data
    found = {
        name.removeprefix("loss_weight_share."): value
        for name, value in run.metrics.items()
        if name.startswith("loss_weight_share.")
    }
    assert found == pytest.approx(expected, rel=1e-12)
    assert run.tags["training.loss_weight_share.sigma_inf"] == str(expected["sigma_inf"])


def test_a_checkpoint_with_edited_noise_settings_is_refused(
    trained: Trained, tmp_path: Path
) -> None:
    folder = tmp_path / "edited"
    shutil.copytree(trained.root / CHECKPOINT, folder)
    facts = read_json(folder / "nadir.json")
    facts["noise"]["sigma_shift"] = 1.5
    (folder / "nadir.json").unlink()
    write_json(folder / "nadir.json", facts)
    message = f"but the model was trained on {trained.schedule.fingerprint}"
    with pytest.raises(NadirError, match=message):
        load_checkpoint_info(folder)
    with pytest.raises(NadirError, match=message):
        load_pipeline(folder)
