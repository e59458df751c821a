"""`nadir captions`: what training will ask for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.training.reports.caption_preview import AskedCaption


def captions(
    images: Annotated[
        int, typer.Option(min=1, help="How many training images, the first of the manifest.")
    ] = 10,
    step: Annotated[
        int, typer.Option(min=0, help="Whose draws: forms, dropped tags and order differ by step.")
    ] = 0,
) -> None:
    """Print the prompts that training will make, and what of them is not read.

    Needs what the stages up to `tag_statistics` make, and no latents; change train.caption and look
    again.

    Examples:
      nadir captions --images 5
      nadir captions --images 5 --step 1     the same images, drawn anew
    """
    from transformers import CLIPTokenizer

    from nadir.config.reader import read_section
    from nadir.config.train import TrainParams
    from nadir.diffusion.sdxl import CHUNK_TOKENS
    from nadir.ground import artifacts
    from nadir.ground.workspace import PARAMS_FILE, project_root
    from nadir.training.reports.caption_preview import asked_captions

    root = project_root()
    folders = [artifacts.BASE / name for name in ("tokenizer", "tokenizer_2")]
    _check(root, [artifacts.MANIFEST, artifacts.TAGS, *folders])
    params = read_section("train", TrainParams, root / PARAMS_FILE)
    found = asked_captions(
        params,
        manifest=root / artifacts.MANIFEST,
        tags=root / artifacts.TAGS,
        tokenizers=[CLIPTokenizer.from_pretrained(root / folder) for folder in folders],
        images=images,
        step=step,
    )
    limit = CHUNK_TOKENS * params.caption.token_chunks
    for caption in found:
        sys.stdout.write(_told(caption, limit))
    cut = sum(bool(caption.beyond) for caption in found)
    sys.stdout.write(f"{len(found)} captions of step {step}; {cut} longer than {limit} tokens\n")


def _told(caption: AskedCaption, limit: int) -> str:
    read = caption.read if caption.tokens else "(the empty prompt)"
    if caption.beyond:
        read += f"\n  >>> not read, beyond {limit} tokens: {caption.beyond}"
    return f"{caption.path}: {caption.tokens} tokens\n  {read.lstrip()}\n"


def _check(root: Path, needed: list[Path]) -> None:
    from nadir.ground.errors import NadirError

    missing = [path for path in needed if not (root / path).exists()]
    if missing:
        raise NadirError(
            f"{missing[0]} is not there yet",
            where="captions",
            fix="`nadir run --until tag_statistics` makes it",
        )
