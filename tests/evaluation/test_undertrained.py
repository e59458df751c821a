"""A model that was trained too little passes every check of its own and loses to the champion."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.support.small_checkpoint import SCALING
from tests.support.small_evaluation import evaluated

from nadir.config.gate import GateParams
from nadir.diffusion.prediction import add_noise, target
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.results import to_table
from nadir.evaluation.verdict.judgement import judge
from nadir.heldout.images import unet_function
from nadir.sampling.prompt_encodings import PromptEncodings, text_encoder
from nadir.sampling.prompt_format import PromptFormat

PROMOTING = {"policy": "auto", "answer_within_h": 24, "smoke_pictures": 0}
PARAMS = GateParams.model_validate(
    {"primary": {"metric": "loss", "margin": 0.0}, "guards": {}, "cfg_scale": None, **PROMOTING}
)
LITTLE, ENOUGH = 5, 40


def trained(pipeline, steps, seed=0):
    """A copy of the pipeline after some real steps on latents like those that are held out."""
    own = copy.copy(pipeline)
    own.unet = copy.deepcopy(pipeline.unet).train().requires_grad_(True)
    encodings = PromptEncodings(text_encoder(own), PromptFormat.of({}).captions)
    hidden, pooled = encodings.get(["1girl, red_hair, happy"] * 8)
    sizes = torch.tensor([[64, 64, 0, 2, 32, 32]] * 8)
    schedule, unet = pipeline.scheduler.schedule, unet_function(own.unet)
    optimizer = torch.optim.AdamW(own.unet.parameters(), lr=2e-3)
    chance = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        clean = SCALING.normalise(torch.randn(8, 4, 8, 8, generator=chance))
        noise = torch.randn(clean.shape, generator=chance)
        steps_B = torch.randint(0, schedule.num_timesteps, (8,), generator=chance)
        alphas = schedule.alphas_cumprod[steps_B]
        wanted = target(pipeline.scheduler.prediction, clean, noise, alphas)
        said = unet(add_noise(clean, noise, alphas), steps_B, hidden, pooled, sizes)
        optimizer.zero_grad()
        (said - wanted).square().mean().backward()
        optimizer.step()
    own.unet = own.unet.eval().requires_grad_(False)
    return own


@pytest.fixture(scope="module")
def tables(pipeline, checkpoint, small_params, holdout):
    params = small_params.model_copy(update={"cfg_scales": (4.5,), "loss_images": 5})

    def table(steps, seed=0):
        evaluation = evaluated(trained(pipeline, steps, seed), checkpoint, params, holdout)
        assert evaluation.gate.verdict == "promote", "its own checks see nothing"
        protocol_id = evaluation.plan.protocol_id
        return to_table(evaluation.rows, protocol_id=protocol_id, checkpoint="c").to_pandas()

    return {"little": table(LITTLE), "enough": table(ENOUGH)}


def test_it_is_rejected_by_its_error_on_held_out_images(tables):
    judgement = judge(tables["enough"], tables["little"], PARAMS, METRICS)
    assert judgement.verdict == "reject"
    assert judgement.reason.startswith("worse than the champion: loss +")


def test_the_better_trained_one_takes_its_place(tables):
    judgement = judge(tables["little"], tables["enough"], PARAMS, METRICS)
    assert judgement.verdict == "promote"
    assert judgement.lines[0].noise is not None
