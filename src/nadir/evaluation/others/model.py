"""Any SDXL by the protocol of a parameter file, with a project's images where it has them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from diffusers import AutoencoderKL

from nadir.data.tags.written import prompt_tags
from nadir.evaluation.evaluator import Evaluation, evaluate
from nadir.evaluation.known_tags import known_tags
from nadir.evaluation.protocol import make_plan
from nadir.evaluation.subject import RealLatents, Subject
from nadir.ground import artifacts
from nadir.ground.events import Progress, say
from nadir.ground.files import canonical_hash, file_hash
from nadir.heldout.images import load_heldout
from nadir.model.load import LatentScaling, load_checkpoint_info, load_pipeline
from nadir.sampling.decode import decode, pixel_array
from nadir.sampling.prompt_encodings import PromptEncodings
from nadir.sampling.prompt_format import PromptFormat

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from diffusers import StableDiffusionXLPipeline
    from numpy.typing import NDArray

    from nadir.config.evaluate import EvaluateParams
    from nadir.heldout.images import HeldOutImage

_SAME_PIXELS = 0.05
"""Root mean square between two renderings of a latent (0-1): above it the VAEs differ."""
_SAME_LATENTS = 0.05
"""Likewise between two encodings of a picture, in units of the U-Net's input."""


@dataclass(frozen=True)
class OtherModel:
    """A model and what was measured of it.

    Attributes:
        evaluation: What was measured.
        weights: 16 hex digits of the hashes of its weights.
        training: What the file or folder says of its training.
        shared_id: Equal for two models that were drawn by one protocol, whatever their own noise
            settings and prompt form.
    """

    evaluation: Evaluation
    weights: str
    training: dict[str, object]
    shared_id: str


def evaluate_other(
    model: Path, params: EvaluateParams, *, project: Path | None, device: str
) -> OtherModel:
    """Evaluate a model, epsilon or v as its markers say.

    Args:
        model: A checkpoint, any SDXL in diffusers' layout, or a single `.safetensors` file.
        params: Section `evaluate`.
        project: Root of the project whose held-out and training images it is set beside; None
            where there is none. They are left out when the model's VAE shows other pictures.
        device: Where to run.

    Raises:
        NadirError: No such model, or one that Nadir cannot sample.
    """
    info = load_checkpoint_info(model)
    form = PromptFormat.of(info.training)
    pipeline = load_pipeline(model, sampler=params.sampler, spacing=params.spacing, device=device)
    files = _files(project)
    holdout = _holdout(files, params, form) if files else []
    if project is not None and not _same_vae(pipeline, info.latent_scaling, holdout, project):
        say("evaluate: the model's VAE is not the project's; its images are left out")
        holdout, files = [], None
    plan = make_plan(
        params,
        holdout=[(image.id, image.caption) for image in holdout],
        noise=info.noise,
        token_chunks=form.captions.token_chunks,
        original_size=form.original_size,
    )
    words = {tag for prompt in plan.prompts for _, tag in prompt_tags(prompt.text)}
    subject = Subject(
        pipeline=pipeline,
        plan=plan,
        params=params,
        scaling=info.latent_scaling,
        encodings=PromptEncodings.of(
            pipeline,
            form,
            original_size=plan.original_size,
            as_written=[image.caption for image in holdout],
        ),
        holdout=holdout,
        # What another model was taught cannot be known.
        known=known_tags(files["tags"]) if files else words,
        real_latents=RealLatents.load(**files) if files else None,
    )
    found = evaluate(subject, advance=Progress("evaluate", plan.images, "images").advance)
    shared = replace(plan, noise={}, token_chunks=0, original_size=(0, 0)).protocol_id
    return OtherModel(found, _weights_hash(model), info.training, shared)


def _files(project: Path | None) -> dict[str, Path] | None:
    """The project's tables and latents; None unless all are there."""
    if project is None:
        return None
    places = {
        "manifest": project / artifacts.MANIFEST,
        "tags": project / artifacts.TAGS,
        "latents": project / artifacts.LATENTS,
    }
    return places if all(path.exists() for path in places.values()) else None


def _holdout(
    files: dict[str, Path], params: EvaluateParams, form: PromptFormat
) -> list[HeldOutImage]:
    return load_heldout(
        manifest=files["manifest"],
        tags=files["tags"],
        latents=files["latents"],
        captions=form.captions,
        limit=max(params.loss_images, params.holdout_prompts),
    )


@torch.no_grad()
def _same_vae(
    pipeline: StableDiffusionXLPipeline,
    scaling: LatentScaling,
    holdout: Sequence[HeldOutImage],
    project: Path,
) -> bool:
    """Whether the model's VAE renders the project's latents as the base's does, or encodes alike.

    The second is so where the decoder alone was fine-tuned.
    """
    if not holdout:
        return True
    latents_NCHW = holdout[0].latents_CHW[None]
    if latents_NCHW.shape[1] != pipeline.unet.config.in_channels:
        return False
    vae = AutoencoderKL.from_pretrained(
        project / artifacts.BASE, subfolder="vae", use_safetensors=True, local_files_only=True
    )
    pixels_NCHW = vae.decode(latents_NCHW).sample.clamp(-1, 1)
    wanted = (pixels_NCHW[0].numpy() + 1) / 2
    drawn = _rendered(pipeline, scaling, latents_NCHW)
    if drawn.shape != wanted.shape:
        return False
    if np.sqrt(np.mean((drawn - wanted) ** 2)) < _SAME_PIXELS:
        return True
    encoded_NCHW = scaling.normalise(vae.encode(pixels_NCHW).latent_dist.mean)
    error_NCHW = _encoded(pipeline, pixels_NCHW) - encoded_NCHW
    return float(error_NCHW.square().mean().sqrt()) < _SAME_LATENTS


def _encoded(pipeline: StableDiffusionXLPipeline, pixels_NCHW: torch.Tensor) -> torch.Tensor:
    """What the model's VAE makes of pictures in [-1, 1], as its U-Net takes it."""
    vae = pipeline.vae
    mean_NCHW = vae.encode(pixels_NCHW.to(vae.device, vae.dtype)).latent_dist.mean.float().cpu()
    return LatentScaling.from_vae_config(vae.config).normalise(mean_NCHW)


def _rendered(
    pipeline: StableDiffusionXLPipeline, scaling: LatentScaling, latents_NCHW: torch.Tensor
) -> NDArray[np.float32]:
    normal = scaling.normalise(latents_NCHW).to(pipeline.unet.device)
    return pixel_array(decode(pipeline, normal)[0])


def _weights_hash(model: Path) -> str:
    if model.is_file():
        return file_hash(model)[:16]
    parts = sorted(model.rglob("*.safetensors"))
    return canonical_hash([[str(p.relative_to(model)), file_hash(p)] for p in parts])[:16]
