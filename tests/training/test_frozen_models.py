"""Where text encoders and VAE wait while they are not needed."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.training.test_trainer import assert_equal_weights, train

from nadir.config.reader import read_section
from nadir.config.train import TrainParams
from nadir.model.sdxl.networks import load_text, load_unet, load_vae
from nadir.model.sdxl.text import visiting
from nadir.training.main import make_accelerator, prepare_run
from nadir.training.reports.previews import _Pipeline
from nadir.training.reports.reporter import NoReporter


def test_a_visit_copies_nothing_back(project: Path) -> None:
    text = load_text(Path("models/base"))
    weight = text.text_encoder.get_parameter(next(iter(dict(text.text_encoder.named_parameters()))))
    place = weight.data_ptr()
    with visiting(torch.device("meta"), text.text_encoder, text.text_encoder_2):
        assert {p.device.type for p in text.text_encoder_2.parameters()} == {"meta"}
    assert weight.data_ptr() == place
    assert weight.device.type == "cpu"


def test_from_the_host_text_encoders_visit_the_device(project: Path, tmp_path: Path) -> None:
    params = read_section("train", TrainParams)
    visits = []
    for place in ("device", "host"):
        chosen = params.model_copy(update={"frozen_models": place})
        accelerator = make_accelerator(chosen)
        run = prepare_run(tmp_path, "f", chosen, accelerator, NoReporter())
        visits.append(run.text.visits)
    assert visits == [None, accelerator.device]


def test_pictures_are_drawn_where_the_unet_is(project: Path) -> None:
    base = Path("models/base")
    text = load_text(base)
    pipeline = _Pipeline(
        vae=load_vae(base),
        text_encoder=text.text_encoder,
        text_encoder_2=text.text_encoder_2,
        tokenizer=text.tokenizer,
        tokenizer_2=text.tokenizer_2,
        unet=load_unet(base).to("meta"),
        scheduler=None,
    )
    assert pipeline._execution_device.type == "meta"
    assert pipeline.vae.device.type == "cpu"


def test_where_models_wait_changes_no_weight(project: Path, tmp_path: Path) -> None:
    train(tmp_path / "device", steps=4, warmup_steps=1, preview_every=4)
    train(tmp_path / "host", steps=4, warmup_steps=1, preview_every=4, frozen_models="host")
    assert_equal_weights(tmp_path / "device", tmp_path / "host")
