"""The whole evaluation of one checkpoint: draw, measure, sum up."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from nadir.evaluation.health import Health, health
from nadir.evaluation.measure import Measurements
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.reals.pictures import TOO_FEW
from nadir.evaluation.results import (
    checkpoint_numbers,
    gate_json,
    hard_checks,
    scale_key,
    summarise,
    to_frame,
)
from nadir.sampling.generate import generate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import pandas as pd
    from PIL import Image

    from nadir.evaluation.gate import Gate
    from nadir.evaluation.metric import Metric
    from nadir.evaluation.protocol import EvalPlan, EvalPrompt
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import CheckpointNumber, Row
    from nadir.sampling.kept_latents import KeptLatents

NO_HOLDOUT = "no held-out image has latents; set validate.holdout_share above 0 or add images"


@dataclass(frozen=True)
class Evaluation:
    """What is known about a checkpoint.

    Attributes:
        plan: What was drawn.
        sampling: `Sampler.facts` of the sampler that drew it; the losses are on its schedule.
        metrics: What was measured; each has seen every image.
        rows: Every value, per image and per held-out latent.
        pictures: By (scale, prompt id, seed).
        references: Held-out images behind prompts, by prompt id.
        scales: Numbers per scale, by `scale_key`.
        checkpoint: Numbers of the checkpoint as a whole, by metric.
        health: Faults of the images.
        gate: Verdict of the hard checks.
        not_run: Metrics that could not run, with the reason.
    """

    plan: EvalPlan
    sampling: dict[str, Any]
    metrics: tuple[Metric, ...]
    rows: list[Row]
    pictures: dict[tuple[float, str, int], Image.Image]
    references: dict[str, Image.Image]
    scales: dict[str, dict[str, float]]
    checkpoint: dict[str, CheckpointNumber]
    health: Health
    gate: Gate
    not_run: dict[str, str] = field(default_factory=dict)

    @cached_property
    def frame(self) -> pd.DataFrame:
        """`rows` as a frame."""
        return to_frame(self.rows)

    def as_json(self) -> dict[str, Any]:
        """The numbers, for `reports/evaluation.json`."""
        return {
            "protocol_id": self.plan.protocol_id,
            "sampling": self.sampling,
            "images": self.health.images,
            "nonfinite": self.health.nonfinite,
            "cfg_scales": self.scales,
            "gate": gate_json(self.gate),
            **self.checkpoint_json(),
        }

    def checkpoint_json(self) -> dict[str, CheckpointNumber]:
        """`checkpoint` without infinity, which JSON cannot hold."""
        return {
            name: number
            for name, number in self.checkpoint.items()
            if isinstance(number, dict) or math.isfinite(number)
        }


def evaluate(
    subject: Subject,
    *,
    advance: Callable[[int], None],
    metrics: Sequence[type[Metric]] = METRICS,
    kept: KeptLatents | None = None,
) -> Evaluation:
    """Evaluate one checkpoint by its plan.

    Args:
        subject: The checkpoint, the plan, the data.
        advance: Called with the number of images just drawn.
        metrics: What to measure.
        kept: Where latents are kept, and taken from after a kill.
    """
    running = tuple(metric() for metric in metrics)
    for metric in running:
        metric.prepare(subject)
    measured = Measurements(running)
    _show_references(subject, measured)
    _draw(subject, measured, advance, kept)
    scales = summarise(running, subject.plan.cfg_scales, to_frame(measured.rows))
    whole = {metric.name: metric.of_checkpoint(subject) for metric in running}
    checkpoint = checkpoint_numbers(whole)
    faults = health(measured.flags)
    decision = scales[scale_key(subject.params.decision_cfg)]
    return Evaluation(
        plan=subject.plan,
        sampling=subject.pipeline.scheduler.facts,
        metrics=running,
        rows=[*measured.rows, *(row for value in whole.values() for row in value.rows)],
        pictures=measured.pictures,
        references=measured.references,
        scales=scales,
        checkpoint=checkpoint,
        health=faults,
        gate=hard_checks(running, {**checkpoint, **decision}, nonfinite=faults.nonfinite),
        not_run=_not_run(running, subject),
    )


def _show_references(subject: Subject, measured: Measurements) -> None:
    """Show the images behind the held-out prompts, one after the other: they are large."""
    wanted = {prompt.id for prompt in subject.plan.of_kind("holdout")}
    for image in subject.holdout:
        name = f"holdout_{image.id}"
        if name in wanted:
            measured.add_reference(name, subject.pixels(image))


def _draw(
    subject: Subject,
    measured: Measurements,
    advance: Callable[[int], None],
    kept: KeptLatents | None,
) -> None:
    for scale in subject.plan.cfg_scales:
        for size, prompts in subject.plan.by_size(scale).items():
            _draw_group(subject, measured, advance, kept, scale=scale, size=size, prompts=prompts)


def _draw_group(
    subject: Subject,
    measured: Measurements,
    advance: Callable[[int], None],
    kept: KeptLatents | None,
    *,
    scale: float,
    size: tuple[int, int],
    prompts: Sequence[EvalPrompt],
) -> None:
    """Draw and measure the prompts of one canvas at one scale."""
    plan, batch_size = subject.plan, subject.params.batch_size
    requests = [(prompt.text, seed) for prompt in prompts for seed in prompt.seeds]
    drawings = generate(
        subject.pipeline,
        requests,
        encodings=subject.encodings,
        cfg_scale=scale,
        steps=plan.steps,
        size=size,
        guidance_rescale=plan.guidance_rescale,
        batch_size=batch_size,
        kept=kept,
    )
    measured_images = reported = 0
    for prompt in prompts:
        batch = list(islice(drawings, len(prompt.seeds)))
        measured.add(prompt, batch)
        measured_images += len(batch)
        # The whole network call is done by now, not only this prompt's part of it.
        drawn = min(math.ceil(measured_images / batch_size) * batch_size, len(requests))
        advance(drawn - reported)
        reported = drawn


def _not_run(metrics: Sequence[Metric], subject: Subject) -> dict[str, str]:
    """By title, why a metric had nothing to measure."""
    missing = {}
    if not subject.holdout:
        missing["holdout"] = NO_HOLDOUT
    if not subject.plan.of_kind("holdout"):
        some = "evaluate.holdout_prompts is 0"
        missing["references"] = some if subject.holdout else NO_HOLDOUT
    if max(len(prompt.seeds) for prompt in subject.plan.prompts) < 2:
        missing["seeds"] = "it needs at least two seeds in evaluate.seeds"
    if subject.reals is None:
        missing["reals"] = TOO_FEW
    found = {
        metric.title: missing[need]
        for metric in metrics
        for need in metric.needs
        if need in missing
    }
    own = {metric.title: reason for metric in metrics if (reason := metric.not_run(subject))}
    return found | own
