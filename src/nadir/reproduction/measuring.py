"""What is drawn and measured of an arm, by the project's own evaluation."""

from __future__ import annotations

import contextlib
import json
import math
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.diffusion.samplers import make_sampler
from nadir.evaluation.evaluator import Evaluation, evaluate
from nadir.evaluation.known_tags import known_tags
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.protocol import make_plan
from nadir.evaluation.subject import RealLatents, Subject
from nadir.ground import artifacts
from nadir.ground.files import read_json
from nadir.heldout.images import load_heldout
from nadir.model.load import load_checkpoint_info, load_pipeline
from nadir.reproduction.arms import CFG_SCALES
from nadir.sampling.prompt_encodings import PromptEncodings
from nadir.sampling.prompt_format import PromptFormat

if TYPE_CHECKING:
    from pathlib import Path

_LADDER = ("luminance", "ladder_error")
_FULL = (*_LADDER, "terminal_canvas", "mean_leak", "tag_recall", "loss")


def measure(project: Path, checkpoint: Path, name: str) -> dict[str, Any]:
    """One measure of a checkpoint.

    Args:
        project: The data project, whose section `evaluate` is the protocol; its held-out and
            training images are what the probe of tags learns from.
        checkpoint: What is measured.
        name: `usual`, `cfg`, `start_…`, `sampler_…` or `canvas_…`, see `arms`.

    Returns:
        `numbers` by metric (of a sweep of CFG by `metric@scale`), and `levels`: mean luminance of
        each step of the ladder. Finite numbers only.
    """
    with contextlib.chdir(project):
        changes, start_sigma, metrics = _changes(name)
        usual = read_section("evaluate", EvaluateParams).model_dump(mode="json", by_alias=True)
        params = EvaluateParams.model_validate_json(json.dumps(usual | _resolved(usual, changes)))
        subject = _subject(checkpoint, params, start_sigma)
        chosen = [metric for metric in METRICS if metric.name in metrics]
        return _summary(evaluate(subject, advance=lambda _: None, metrics=chosen), params)


def _changes(name: str) -> tuple[dict[str, Any], float | None, tuple[str, ...]]:
    """Changes of the protocol, the first sigma, and what is measured."""
    kind, *rest = name.split("_")
    if kind == "usual":
        return {}, None, _FULL
    few: dict[str, Any] = {"prompts": "one"}
    if kind == "cfg":
        return {"cfg_scales": CFG_SCALES, "brightness": "ladder"}, None, (
            "luminance", "brightness_error", "tag_recall")  # fmt: skip
    if kind == "start":
        return few, _sigma(rest[0]), _LADDER
    if kind == "sampler":
        *words, steps = rest
        return few | {"sampler": "_".join(words), "steps": int(steps)}, None, _LADDER
    factor, sigma = rest
    return few | {"side": int(factor), "seeds": [1, 2]}, _sigma(sigma), _LADDER


def _sigma(text: str) -> float | None:
    return None if math.isinf(float(text)) else float(text)


def _resolved(usual: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The changes as the section takes them."""
    found = dict(changes)
    if found.get("prompts") == "one":
        found["prompts"] = usual["prompts"][:1]
    if found.get("brightness") == "ladder":
        found["brightness"] = [*usual["brightness"], *usual["brightness_ladder"]]
        found["brightness_ladder"] = []
    if side := found.pop("side", None):
        found |= {key: usual[key] * side for key in ("width_px", "height_px")}
    return found


def _subject(checkpoint: Path, params: EvaluateParams, start_sigma: float | None) -> Subject:
    info = load_checkpoint_info(checkpoint)
    form = PromptFormat.of(info.training)
    sampler = make_sampler(
        info.schedule,
        prediction=info.noise["prediction"],
        name=params.sampler,
        spacing=params.spacing,
        start_sigma=start_sigma,
    )
    pipeline = load_pipeline(checkpoint, sampler=sampler)
    files = {
        "manifest": artifacts.MANIFEST,
        "tags": artifacts.TAGS,
        "latents": artifacts.LATENTS,
    }
    holdout = load_heldout(**files, captions=form.captions, limit=params.loss_images)
    plan = make_plan(
        params,
        holdout=(),
        noise=info.noise,
        token_chunks=form.captions.token_chunks,
        original_size=form.original_size,
        # Arms with other latent scalings are measured in one unit.
        latent_std=tuple(read_json(artifacts.LATENT_STATISTICS)["std"]),
    )
    return Subject(
        pipeline=pipeline,
        plan=plan,
        params=params,
        scaling=info.latent_scaling,
        encodings=PromptEncodings.of(
            pipeline, form, original_size=plan.original_size, as_written=[]
        ),
        holdout=holdout,
        known=known_tags(artifacts.TAGS),
        real_latents=RealLatents.load(**files),
    )


def _summary(found: Evaluation, params: EvaluateParams) -> dict[str, Any]:
    numbers: dict[str, float] = {}
    for scale, values in found.scales.items():
        end = "" if len(params.cfg_scales) == 1 else f"@{scale}"
        numbers |= {f"{name}{end}": value for name, value in values.items()}
    for name, value in found.checkpoint_json().items():
        parts = value if isinstance(value, dict) else {"": value}
        numbers |= {f"{name}_{part}".rstrip("_"): number for part, number in parts.items()}
    levels = defaultdict(list)
    for row in found.rows:
        if row.metric == "luminance" and row.cfg_scale == params.decision_cfg:
            levels[row.prompt_id].append(row.value)
    return {
        "numbers": {name: float(v) for name, v in numbers.items() if math.isfinite(v)},
        "levels": {name: float(np.mean(values)) for name, values in levels.items()},
    }
