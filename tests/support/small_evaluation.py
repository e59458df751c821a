"""A whole evaluation of the small checkpoint, with any metrics, in about a second."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.evaluator import Evaluation, evaluate
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.protocol import make_plan
from nadir.evaluation.subject import RealLatents, Subject
from nadir.heldout.images import load_heldout
from nadir.heldout.thumbnails import load_thumbnails, tag_rarity
from nadir.model.load import load_checkpoint_info
from nadir.sampling.prompt_encodings import PromptEncodings, text_encoder
from nadir.sampling.prompt_format import PromptFormat

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from diffusers import StableDiffusionXLPipeline

    from nadir.config.evaluate import EvaluateParams
    from nadir.evaluation.metric import Metric

HOSTILE = 'x"><script>alert(1)</script>'
SMALL = {
    "cfg_scales": (3.5, 4.5),
    "steps": 2,
    "width_px": 32,
    "height_px": 32,
    "prompts": ("1girl, red_hair", HOSTILE),
    "holdout_prompts": 2,
    "canvases": ((48, 24),),
    "seeds": (1, 2),
    "loss_images": 3,
    "max_brightness_error": 1.0,
}


def evaluated(
    pipeline: StableDiffusionXLPipeline,
    checkpoint: Path,
    params: EvaluateParams,
    holdout: Path | None,
    *,
    known: Collection[str] = frozenset(),
    metrics: Sequence[type[Metric]] = METRICS,
) -> Evaluation:
    """Evaluate a checkpoint; `holdout` is a folder from `write_holdout`."""
    info = load_checkpoint_info(checkpoint)
    images, real = [], None
    if holdout is not None:
        files = {
            "manifest": holdout / "manifest.parquet",
            "tags": holdout / "tags.parquet",
            "latents": holdout / "latents",
        }
        parts = [load_thumbnails(**files, split=s, limit=100) for s in ("holdout", "train")]
        real = RealLatents(*parts, tag_rarity(files["tags"]), files["latents"])
        images = load_heldout(
            **files,
            captions=PromptFormat.of({}).captions,
            limit=params.loss_images,
        )
    plan = make_plan(
        params,
        holdout=[(image.id, image.caption) for image in images],
        noise=info.noise,
        token_chunks=1,
    )
    subject = Subject(
        pipeline=pipeline,
        plan=plan,
        params=params,
        scaling=info.latent_scaling,
        encodings=PromptEncodings(text_encoder(pipeline), PromptFormat.of({}).captions),
        holdout=images,
        known=known,
        real_latents=real,
    )
    done: list[int] = []
    evaluation = evaluate(subject, advance=done.append, metrics=metrics)
    assert sum(done) == plan.images == evaluation.health.images
    return evaluation
