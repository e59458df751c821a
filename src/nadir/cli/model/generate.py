"""`nadir generate`: pictures from the champion, or from any SDXL."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nadir.cli.model.models import ModelOption, model_path
from nadir.diffusion.names import SAMPLER_NAMES
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import StableDiffusionXLPipeline
    from PIL import Image

    from nadir.sampling.generate import Drawing

_CFG, _STEPS, _SAMPLER = 4.5, 28, "euler"


def generate(  # noqa: PLR0913 - each is an option of its own
    prompt: Annotated[str, typer.Argument(help="Tags, comma-separated.")],
    model: ModelOption = None,
    *,
    cfg: Annotated[
        float, typer.Option(help="Guidance scale; 3.5 to 5 is usual.", metavar="S", min=0)
    ] = _CFG,
    seed: Annotated[int, typer.Option(help="Noise seed of the first picture.", metavar="N")] = 1,
    steps: Annotated[int, typer.Option(help="Sampling steps.", metavar="N", min=2)] = _STEPS,
    count: Annotated[
        int, typer.Option(help="How many, with seeds counted up.", metavar="N", min=1)
    ] = 1,
    negative: Annotated[
        str, typer.Option(help="Tags that guidance leads away from.", metavar="TAGS")
    ] = "",
    sampler: Annotated[
        str, typer.Option(help=f"One of {', '.join(SAMPLER_NAMES)}.", metavar="NAME")
    ] = _SAMPLER,
    size: Annotated[
        str | None, typer.Option(help="Pixels; else what the model is made for.", metavar="WxH")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="A .png file, or a folder; else the present folder.", metavar="PATH"),
    ] = None,
) -> None:
    """Draw a prompt and print the path of each picture.

    The same prompt, seed, scale, steps and model give the same picture.

    Examples:
      nadir generate "1girl, red_hair, black_background" --cfg 4.5 --seed 1
      nadir generate "1boy, outdoors" --model models/checkpoint --count 4 --output pictures
    """
    canvas = _canvas(size)
    seeds = range(seed, seed + count)
    paths = [_path(output, prompt, value, count) for value in seeds]
    folder = model_path(model)
    pipeline = _load(folder, sampler)
    factor = 2 * pipeline.vae_scale_factor
    canvas = canvas or _own_size(pipeline)
    if any(side % factor for side in canvas):
        raise NadirError(
            f"{canvas[0]}x{canvas[1]} does not fit this model",
            where="--size",
            fix=f"use multiples of {factor}",
        )
    drawings = _draw(
        pipeline,
        folder,
        [(prompt, value) for value in seeds],
        negative=negative,
        cfg_scale=cfg,
        steps=steps,
        size=canvas,
    )
    for path, drawing in zip(paths, drawings, strict=True):
        _save(drawing, path)


def _save(drawing: Drawing, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    drawing.image.save(path)
    if not (drawing.latents_finite and drawing.pixels_finite):
        sys.stderr.write(f"warning: {path} is broken: the model put out NaN or infinity\n")
    sys.stdout.write(f"{path}\n")
    sys.stdout.flush()


def _own_size(pipeline: StableDiffusionXLPipeline) -> tuple[int, int]:
    """The square that a model is made for, in pixels."""
    side: int = pipeline.default_sample_size * pipeline.vae_scale_factor
    return side, side


def draw_one(folder: Path, prompt: str) -> Image.Image:
    """A picture of a model at its own size, with seed 1 and this command's other defaults."""
    pipeline = _load(folder, _SAMPLER)
    drawings = _draw(
        pipeline,
        folder,
        [(prompt, 1)],
        negative="",
        cfg_scale=_CFG,
        steps=_STEPS,
        size=_own_size(pipeline),
    )
    return next(iter(drawings)).image


def _canvas(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)[xX×](\d+)", text.strip())
    if not match or 0 in (int(match[1]), int(match[2])):
        raise NadirError(
            f"{text!r} is not a size", where="--size", fix="write WIDTHxHEIGHT, e.g. 832x1216"
        )
    return int(match[1]), int(match[2])


def _path(output: Path | None, prompt: str, seed: int, count: int) -> Path:
    """Where the picture of a seed goes; several never share a file."""
    slug = re.sub(r"[^\w]+", "-", prompt.lower()).strip("-")[:48].strip("-") or "empty"
    name = f"{slug}-seed-{seed}.png"
    if output is None:
        return Path(name)
    if output.suffix.lower() != ".png":
        return output / name
    return output if count == 1 else output.with_stem(f"{output.stem}-seed-{seed}")


def _load(folder: Path, sampler: str) -> StableDiffusionXLPipeline:
    # Read at import; the libraries' hints, such as on torchvision, concern no one who draws.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    from nadir.compute.devices import pick_device
    from nadir.model.load import load_pipeline

    return load_pipeline(folder, sampler=sampler, device=pick_device("auto"))


def _draw(
    pipeline: StableDiffusionXLPipeline,
    folder: Path,
    requests: list[tuple[str, int]],
    **settings: Any,
) -> Iterator[Drawing]:
    from nadir.model.load import load_checkpoint_info
    from nadir.sampling.generate import generate as draw
    from nadir.sampling.prompt_encodings import PromptEncodings
    from nadir.sampling.prompt_format import PromptFormat

    form = PromptFormat.of(load_checkpoint_info(folder).training)
    return draw(
        pipeline,
        requests,
        encodings=PromptEncodings.of(pipeline, form),
        batch_size=1,  # so that a picture never depends on how many were asked for
        **settings,
    )
