"""`nadir export`: a checkpoint as the single file that other programs read."""

from __future__ import annotations

import datetime as dt
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nadir.cli.model.models import ModelOption, model_path
from nadir.cli.model.origin import licence_of, origin_of
from nadir.ground.errors import NadirError
from nadir.ground.workspace import expanded

if TYPE_CHECKING:
    from PIL import Image

    from nadir.model.single_file.modelspec import Words

_WORDS = ("title", "author", "licence", "description", "tags")
_PICTURES = {".png", ".jpg", ".jpeg", ".webp"}


def export(
    file: Annotated[Path, typer.Argument(help="The .safetensors file to write.", metavar="FILE")],
    model: ModelOption = None,
    precision: Annotated[
        Literal["fp16", "bf16", "fp32", "fp8"],
        typer.Option(help="Of all weights; fp8: of the U-Net's linear layers, for ComfyUI only."),
    ] = "fp16",
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    adapter: Annotated[
        bool, typer.Option("--adapter", help="Only the adapter (LoRA …) that was trained.")
    ] = False,
    yaml: Annotated[
        bool,
        typer.Option("--yaml", help="Also FILE's name with .yaml: v-prediction for old A1111."),
    ] = False,
    preview: Annotated[
        str | None,
        typer.Option(
            help="Also FILE's name with .png: this picture, or this prompt drawn.",
            metavar="PICTURE|PROMPT",
        ),
    ] = None,
    say: Annotated[
        list[str] | None,
        typer.Option(
            help="Of title, author, licence, description and tags; may be repeated.",
            metavar="WHAT=TEXT",
        ),
    ] = None,
) -> None:
    """Write a model as one file for ComfyUI, Forge and others.

    The file carries the markers by which they recognise v-prediction and zero terminal SNR, latent
    scaling is folded into its VAE, and its metadata say how the model wants to be asked, what its
    maker says of it and which version it is.

    With --adapter it is the LoRA or its like alone, in the names that these programs read.

    Examples:
      nadir export nadir.safetensors --yaml --preview "1girl, red_hair, black_background"
      nadir export style.safetensors --adapter --model models/checkpoint
      nadir export newest.safetensors --model models/checkpoint --precision bf16
      nadir export nadir.safetensors --say title="Night sky 3" --say author=me --say tags=anime
    """
    file = expanded(file)
    beside = [suffix for suffix, asked in ((".yaml", yaml), (".png", preview is not None)) if asked]
    _require_targets([file, *map(file.with_suffix, beside)], force=force)
    _require_whole(adapter=adapter, yaml=yaml, precision=precision)
    given, said = _given_picture(preview), _said(say or [], model)
    folder = _folder(model, yaml=yaml)
    picture = _picture(preview, given, folder)
    _write(file, folder, _words(said, model), picture, precision=precision, adapter=adapter)
    if yaml:
        _write_yaml(file.with_suffix(".yaml"))


def _folder(model: str | None, *, yaml: bool) -> Path:
    folder = model_path(model)
    if not folder.is_dir():
        raise NadirError("this is a single file already", where=str(folder), fix="copy it")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    _require_v(folder, yaml=yaml)
    return folder


def _words(said: dict[str, Any], model: str | None) -> Words:
    from nadir.model.single_file.modelspec import Words

    today = dt.datetime.now(tz=dt.UTC).date().isoformat()
    return Words(**said, origin=origin_of(model), date=today)


def _write(
    file: Path,
    folder: Path,
    words: Words,
    picture: Image.Image | None,
    *,
    precision: str,
    adapter: bool,
) -> None:
    from dataclasses import replace

    from nadir.model.adapter_files.exporting import export_adapter
    from nadir.model.single_file.preview import thumbnail, write_preview
    from nadir.model.single_file.writing import export_single_file

    size = None
    if picture is not None:
        words = replace(words, thumbnail=thumbnail(picture))
    if adapter:
        export_adapter(folder, file, precision=precision, words=words)
    else:
        size = export_single_file(folder, file, precision=precision, words=words)
    sys.stdout.write(f"{file}\n")
    if picture is not None:
        write_preview(picture, file.with_suffix(".png"))
        sys.stdout.write(f"{file.with_suffix('.png')}\n")
    if size:
        sys.stderr.write(
            f"warning: only Nadir opens {file}: ComfyUI, A1111 and Forge know models by their "
            f"sizes, and this one is not of SDXL's ({size}); diffusers opens the checkpoint's "
            "folder\n"
        )


def _write_yaml(place: Path) -> None:
    from nadir.ground.files import write_text
    from nadir.model.single_file.a1111 import a1111_yaml

    write_text(place, a1111_yaml())
    sys.stdout.write(f"{place}\n")


def _require_whole(*, adapter: bool, yaml: bool, precision: str) -> None:
    """Refuse what is of whole models only."""
    if not adapter:
        return
    wrong = "--yaml" if yaml else "--precision fp8" if precision == "fp8" else None
    if wrong:
        raise NadirError(
            f"{wrong} is of whole models; an adapter has none",
            where="nadir export --adapter",
            fix=f"leave {wrong} out",
        )


def _require_v(folder: Path, *, yaml: bool) -> None:
    if not yaml:
        return
    from nadir.model.load import load_checkpoint_info

    if load_checkpoint_info(folder).noise["prediction"] != "v":
        raise NadirError(
            "the model predicts epsilon, for which A1111 needs no .yaml",
            where=str(folder),
            fix="leave --yaml out",
        )


def _said(say: list[str], model: str | None) -> dict[str, Any]:
    """What `--say` was given, by the names that `Words` has for it."""
    said: dict[str, Any] = {"licence": licence_of(model)}
    for text in say:
        what, mark, told = text.partition("=")
        if what not in _WORDS or not mark or not told.strip():
            raise NadirError(
                f"{text!r} says nothing of a model",
                where="--say",
                fix=f"write WHAT=TEXT, with one of {', '.join(_WORDS)}",
            )
        said[what] = told.strip()
    if "tags" in said:
        said["tags"] = tuple(tag.strip() for tag in said["tags"].split(",") if tag.strip())
    return said


def _given_picture(preview: str | None) -> Image.Image | None:
    """The picture that `--preview` names; None where it is a prompt."""
    if preview is None:
        return None
    if not preview.strip():
        raise NadirError("nothing is named", where="--preview", fix="a picture's file or a prompt")
    if Path(preview).suffix.lower() not in _PICTURES:
        return None
    from nadir.model.single_file.preview import read_picture

    return read_picture(expanded(preview))


def _picture(preview: str | None, given: Image.Image | None, folder: Path) -> Image.Image | None:
    if preview is None or given is not None:
        return given
    from nadir.cli.model.generate import draw_one

    return draw_one(folder, preview)


def _require_targets(files: list[Path], *, force: bool) -> None:
    file = files[0]
    if file.suffix != ".safetensors":
        raise NadirError(
            f"{file.name!r} does not end in .safetensors", where="FILE", fix="name it so"
        )
    for place in files:
        if place.is_dir() or (place.exists() and not force):
            raise NadirError(
                "there is something of this name",
                where=str(place),
                fix="name another, or add --force",
            )
    parent = (Path.cwd() / file).parent
    if not parent.is_dir():
        raise NadirError("no such folder", where=str(parent), fix="make it first")
