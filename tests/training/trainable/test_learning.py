"""An adapter on a v-prediction base learns something, and its export alone says so."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from tests.cli.test_export import run as export
from tests.support.training_project import write_project
from tests.training.test_trainer import FINGERPRINT, train
from tests.training.trainable.adapter_cases import KINDS
from tests.training.trainable.test_settings import LORA

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.data.tables import MANIFEST, read_table, write_table
from nadir.ground.errors import NadirError
from nadir.model.sdxl.networks import load_unet
from nadir.training.main import make_accelerator, prepare_run
from nadir.training.reports.reporter import NoReporter

STEPS = 40


@pytest.fixture(scope="module")
def v_base(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with v-prediction and zero terminal SNR, trained a little."""
    folder = tmp_path_factory.mktemp("v")
    text = (Path(__file__).parents[3] / "params.yaml").read_text(encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(write_project(folder / "project", base=base, params_text=text))
        train(folder / "w", steps=20, preview_every=0, latent_scaling="sdxl")
    return folder / "w/output/checkpoint"


def heldout_error(model: Path, work: Path) -> float:
    """Mean squared error of a model on the images that are held out, noise being always the same.

    The project at the working directory trains on the others; here the two change places.
    """
    manifest = read_table(Path("data/manifest.parquet"), MANIFEST)
    place = manifest.schema.get_field_index("split")
    other = {"train": "holdout", "holdout": "train"}
    split = pa.array([other[name] for name in manifest["split"].to_pylist()], pa.string())
    swapped = manifest.set_column(place, manifest.schema.field("split"), split)
    write_table(swapped, Path("data/manifest.parquet"), MANIFEST)
    params = read_section("train", TrainParams)
    run = prepare_run(work, FINGERPRINT, params, make_accelerator(params), NoReporter())
    unet = load_unet(model)

    def predict(noisy_BCHW, timesteps_B, hidden_BSD, pooled_BP, time_ids_B6):
        added = {"text_embeds": pooled_BP, "time_ids": time_ids_B6}
        return unet(noisy_BCHW, timesteps_B, hidden_BSD, added_cond_kwargs=added).sample

    with torch.no_grad():
        losses = [run.objective(predict, run.loader.batch(step)).unweighted for step in range(8)]
    write_table(manifest, Path("data/manifest.parquet"), MANIFEST)
    return float(torch.stack(losses).mean())


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_on_a_v_base_lowers_the_error_and_moves_the_outputs(
    v_base: Path,
    params_text: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.chdir(write_project(tmp_path / "p", base=v_base, params_text=params_text))
    adapter = LORA | {"kind": kind, "rank": 4, "alpha": 4.0, "convolutions": True}
    train(
        tmp_path / "w",
        steps=STEPS,
        batch_size=8,
        optimizer="adamw",
        learning_rate=0.02,
        preview_every=0,
        checkpoint_every=STEPS,
        latent_scaling="sdxl",
        adapter=adapter,
    )
    model = tmp_path / "w/output/checkpoint"
    before, after = (heldout_error(folder, tmp_path / "h") for folder in (v_base, model))
    assert after < 0.9 * before

    file = tmp_path / "alone.safetensors"
    export(file, "--adapter", "--model", model, "--precision", "fp32")
    whole = load_file(model / "adapter/adapter.safetensors")
    alone = load_file(file)
    assert alone.keys() == whole.keys()
    assert all(torch.equal(tensor, whole[name]) for name, tensor in alone.items())
    with safe_open(file, framework="pt") as opened:
        assert opened.metadata()["ss_v_parameterization"] == "True"
        assert opened.metadata()["modelspec.hash_sha256"].startswith("0x")


def test_an_export_in_fp16_keeps_alpha_and_halves_the_rest(
    v_base: Path, tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_project(tmp_path / "p", base=v_base, params_text=params_text))
    train(tmp_path / "w", steps=3, preview_every=0, latent_scaling="sdxl", adapter=LORA)
    export(tmp_path / "a.safetensors", "--adapter", "--model", tmp_path / "w/output/checkpoint")
    kinds = {
        name.endswith(".alpha"): t.dtype
        for name, t in load_file(tmp_path / "a.safetensors").items()
    }
    assert kinds == {True: torch.float32, False: torch.float16}
    with pytest.raises(NadirError, match="trained without an adapter"):
        export(tmp_path / "b.safetensors", "--adapter", "--model", v_base)
