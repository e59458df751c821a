"""`nadir export`: a checkpoint as the single file that other programs read."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from nadir.cli.model.models import ModelOption, model_path
from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded


def export(
    file: Annotated[Path, typer.Argument(help="The .safetensors file to write.", metavar="FILE")],
    model: ModelOption = None,
    precision: Annotated[
        Literal["fp16", "bf16", "fp32"], typer.Option(help="Of all weights.")
    ] = "fp16",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the adapter (LoRA …) that was trained.")
    ] = False,
) -> None:
    """Write a model as one file for ComfyUI, Forge and others.

    The file carries the markers by which they recognise v-prediction and zero terminal SNR, latent
    scaling is folded into its VAE, and its metadata say how the model wants to be asked.

    With --adapter it is the LoRA or its like alone, in the names that these programs read.

    Examples:
      nadir export nadir.safetensors
      nadir export style.safetensors --adapter --model models/checkpoint
      nadir export newest.safetensors --model models/checkpoint --precision bf16
    """
    file = expanded(file)
    _require_target(file, force=force)
    folder = model_path(model)
    if not folder.is_dir():
        raise NadirError("this is a single file already", where=str(folder), fix="copy it")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    from nadir.model.adapter_files.exporting import export_adapter
    from nadir.model.single_file.writing import export_single_file

    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    if adapter:
        export_adapter(folder, file, precision=precision, date=today)
        sys.stdout.write(f"{file}\n")
        return
    size = export_single_file(folder, file, precision=precision, date=today)
    sys.stdout.write(f"{file}\n")
    if size:
        sys.stderr.write(
            f"warning: only Nadir opens {file}: ComfyUI, A1111 and Forge know models by their "
            f"sizes, and this one is not of SDXL's ({size}); diffusers opens the checkpoint's "
            "folder\n"
        )


def _require_target(file: Path, *, force: bool) -> None:
    if file.suffix != ".safetensors":
        raise NadirError(
            f"{file.name!r} does not end in .safetensors", where="FILE", fix="name it so"
        )
    if file.is_dir() or (file.exists() and not force):
        raise NadirError(
            "there is something of this name", where=str(file), fix="name another, or add --force"
        )
    parent = (Path.cwd() / file).parent
    if not parent.is_dir():
        raise NadirError("no such folder", where=str(parent), fix="make it first")
