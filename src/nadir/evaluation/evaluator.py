"""The whole evaluation of one checkpoint: draw, measure, sum up."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.evaluation.generate import PromptEncodings, generate
from nadir.evaluation.heldout import loss_batches, unet_function
from nadir.evaluation.known_tags import unknown_tags
from nadir.evaluation.measure import Measurements, Reference, Row, reference_of
from nadir.evaluation.metrics.health import Health, health
from nadir.evaluation.metrics.loss import LossValue, loss_values, parameterisation_ratio
from nadir.evaluation.pixels import decode, pixel_array
from nadir.evaluation.results import gate_json, hard_checks, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from diffusers import StableDiffusionXLPipeline
    from PIL import Image

    from nadir.config.evaluate import EvaluateParams
    from nadir.evaluation.comparison import Gate
    from nadir.evaluation.heldout import HeldOutImage
    from nadir.evaluation.protocol import EvalPlan
    from nadir.model.scaling import LatentScaling

NO_HOLDOUT = "no held-out image has latents; set validate.holdout_share above 0 or add images"


@dataclass(frozen=True)
class Evaluation:
    """What is known about a checkpoint.

    Attributes:
        plan: What was drawn.
        sampling: `Sampler.facts` of the sampler that drew it; the losses are on its schedule.
        rows: Every value, per image and per held-out latent.
        pictures: By (scale, prompt id, seed).
        references: Held-out images behind prompts, by prompt id.
        scales: Numbers per scale, by `scale_key`.
        loss: x0 error by timestep, `t999` and so on; empty without held-out images.
        parameterisation: See `parameterisation_ratio`; None without held-out images.
        health: Faults of the images.
        gate: Verdict of the hard checks.
        not_run: Metrics that could not run, with the reason.
    """

    plan: EvalPlan
    sampling: dict[str, Any]
    rows: list[Row]
    pictures: dict[tuple[float, str, int], Image.Image]
    references: dict[str, Image.Image]
    scales: dict[str, dict[str, float]]
    loss: dict[str, float]
    parameterisation: float | None
    health: Health
    gate: Gate
    not_run: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The numbers, for `reports/evaluation.json`."""
        value: dict[str, Any] = {
            "protocol_id": self.plan.protocol_id,
            "sampling": self.sampling,
            "images": self.health.images,
            "nonfinite": self.health.nonfinite,
            "cfg_scales": self.scales,
            "loss": self.loss,
            "gate": gate_json(self.gate),
        }
        if self.parameterisation is not None and math.isfinite(self.parameterisation):
            value["parameterisation_ratio"] = self.parameterisation
        return value


def evaluate(
    pipeline: StableDiffusionXLPipeline,
    plan: EvalPlan,
    params: EvaluateParams,
    *,
    scaling: LatentScaling,
    encodings: PromptEncodings,
    holdout: Sequence[HeldOutImage],
    known: Collection[str],
    advance: Callable[[int], None],
) -> Evaluation:
    """Evaluate one checkpoint by a plan.

    Args:
        pipeline: The checkpoint with the plan's sampler, from `model.checkpoint.load_pipeline`.
        plan: What to draw.
        params: Section `evaluate`, for batch size and gate.
        scaling: The checkpoint's latent scaling.
        encodings: Its text conditioning.
        holdout: Held-out images; may be empty.
        known: Tags of the training images, from `known_tags`.
        advance: Called with the number of images just drawn.
    """
    references = _references(pipeline, plan, scaling, holdout)
    measured = _draw(pipeline, plan, params.batch_size, encodings, references, advance)
    schedule = pipeline.scheduler.schedule
    losses = _losses(pipeline, params.batch_size, scaling, encodings, holdout)
    spectra = [reference.log_power_B for reference in references.values()]
    scales = summarise(plan, measured, np.stack(spectra) if spectra else None)
    faults = health(measured.flags)
    ratio = parameterisation_ratio(losses, schedule) if losses else None
    probes = (probe.text for probe in plan.of_kind("brightness"))
    return Evaluation(
        plan=plan,
        sampling=pipeline.scheduler.facts,
        rows=[*measured.rows, *_loss_rows(losses)],
        pictures=measured.pictures,
        references={name: reference.picture for name, reference in references.items()},
        scales=scales,
        loss=_loss_means(losses),
        parameterisation=ratio,
        health=faults,
        gate=hard_checks(
            params,
            scales=scales,
            nonfinite=faults.nonfinite,
            parameterisation=ratio,
            unknown=unknown_tags(probes, known),
        ),
        not_run=_not_run(plan, losses),
    )


def _references(
    pipeline: StableDiffusionXLPipeline,
    plan: EvalPlan,
    scaling: LatentScaling,
    holdout: Sequence[HeldOutImage],
) -> dict[str, Reference]:
    """The images behind the held-out prompts through the VAE, which bounds what can be drawn."""
    wanted = {prompt.id for prompt in plan.of_kind("holdout")}
    found = {}
    for image in holdout:
        name = f"holdout_{image.id}"
        if name in wanted:
            latents_NCHW = scaling.normalise(image.latents_CHW[None]).to(pipeline.unet.device)
            found[name] = reference_of(pixel_array(decode(pipeline, latents_NCHW)[0]))
    return found


def _draw(
    pipeline: StableDiffusionXLPipeline,
    plan: EvalPlan,
    batch_size: int,
    encodings: PromptEncodings,
    references: dict[str, Reference],
    advance: Callable[[int], None],
) -> Measurements:
    measured = Measurements()
    requests = [(prompt.text, seed) for prompt in plan.prompts for seed in prompt.seeds]
    for scale in plan.cfg_scales:
        drawings = generate(
            pipeline,
            requests,
            encodings=encodings,
            cfg_scale=scale,
            steps=plan.steps,
            size=(plan.width_px, plan.height_px),
            guidance_rescale=plan.guidance_rescale,
            batch_size=batch_size,
        )
        measured_images = told = 0
        for prompt in plan.prompts:
            batch = list(islice(drawings, len(prompt.seeds)))
            measured.add(prompt, batch, references.get(prompt.id))
            measured_images += len(batch)
            # The whole network call is done by now, not only this prompt's part of it.
            drawn = min(math.ceil(measured_images / batch_size) * batch_size, len(requests))
            advance(drawn - told)
            told = drawn
    return measured


def _losses(
    pipeline: StableDiffusionXLPipeline,
    batch_size: int,
    scaling: LatentScaling,
    encodings: PromptEncodings,
    holdout: Sequence[HeldOutImage],
) -> list[LossValue]:
    unet = unet_function(pipeline.unet)
    batches = loss_batches(
        holdout,
        scaling=scaling,
        encodings=encodings,
        batch_size=batch_size,
        device=pipeline.unet.device,
    )
    sampler = pipeline.scheduler
    return [
        value
        for batch in batches
        for value in loss_values(unet, batch, sampler.schedule, sampler.prediction)
    ]


def _loss_rows(losses: Sequence[LossValue]) -> list[Row]:
    return [
        Row(None, f"image_{value.image[:12]}", 0, f"x0_mse_t{value.timestep}", value.x0_mse)
        for value in losses
        if math.isfinite(value.x0_mse)
    ]


def _loss_means(losses: Sequence[LossValue]) -> dict[str, float]:
    """Mean over images by timestep, noisiest first, and the mean of those."""
    groups: dict[int, list[float]] = defaultdict(list)
    for value in losses:
        if math.isfinite(value.x0_mse):
            groups[value.timestep].append(value.x0_mse)
    means = {f"t{timestep}": float(np.mean(values)) for timestep, values in groups.items()}
    return {**means, "mean": float(np.mean(list(means.values())))} if means else {}


def _not_run(plan: EvalPlan, losses: Sequence[LossValue]) -> dict[str, str]:
    reasons = {}
    if not losses:
        reasons["loss by noise level"] = NO_HOLDOUT
        reasons["parameterisation"] = NO_HOLDOUT
    if not plan.of_kind("holdout"):
        reason = NO_HOLDOUT if not losses else "evaluate.holdout_prompts is 0"
        reasons["chroma, clipping, contrast and spectrum against real images"] = reason
    if max(len(prompt.seeds) for prompt in plan.prompts) < 2:
        reasons["diversity"] = "it needs at least two seeds in evaluate.seeds"
    return reasons
