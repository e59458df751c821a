"""`nadir lineage`: what made a version, and which versions an image made."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nadir.ground.errors import NadirError
from nadir.ground.logs.stream import print_document

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.pipeline.lineage.images import Part

_HASHES = {"md5", "sha256", "lock_sha256", "commit", "revision", "in", "weights_md5"}
_SHOWN = 12  # digits of a hash


def lineage(
    model: Annotated[
        str | None,
        typer.Argument(
            help="models:/NAME@ALIAS, models:/NAME/VERSION, a number or an alias; else the "
            "champion.",
            metavar="MODEL",
        ),
    ] = None,
    image: Annotated[
        str | None,
        typer.Option(help="The versions that this image took part in.", metavar="SHA256|FILE"),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For machines; whole hashes.")] = False,
) -> None:
    """Print what a version was made of, link by link, or which versions an image took part in.

    Facts come from the version's tags, the dvc.lock of its commit, and DVC's cache; manifests that
    the cache lacks are fetched from DVC's remote. What cannot be found is named.

    Examples:
      nadir lineage
      nadir lineage models:/nadir/3 --json
      nadir lineage --image ~/pictures/a.jpg
    """
    from nadir.ground.workspace import project_root

    if model is not None and image is not None:
        raise NadirError(
            "MODEL and --image exclude each other", where="nadir lineage", fix="give one of them"
        )
    if image is not None:
        _print_uses(image, project_root(), as_json=as_json)
    else:
        _print_chain(model or "champion", project_root(), as_json=as_json)


def _print_chain(model: str, root: Path, *, as_json: bool) -> None:
    from nadir.pipeline.lineage.chain import lineage_of
    from nadir.tracking.registry.versions import version_uri

    chain = lineage_of(version_uri(model, root), root)
    if as_json:
        print_json({"links": chain.links, "missing": chain.missing})
        return
    for number, (name, facts) in enumerate(chain.links.items()):
        arrow = "<- " if number else ""
        sys.stdout.write(f"{arrow}{name.replace('_', ' ')}: {_told(facts) or 'unknown'}\n")
    for what in chain.missing:
        sys.stdout.write(f"not found: {what}\n")


def _told(facts: dict[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {_short(key, value)}"
        for key, value in facts.items()
        if not (key == "train" and isinstance(value, dict)) and value not in ({}, (), [])
    )


def _short(key: str, value: Any) -> str:
    if isinstance(value, dict):
        return "(" + ", ".join(f"{name} {count:,}" for name, count in value.items()) + ")"
    if isinstance(value, list | tuple):
        return "/".join(map(str, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    text = str(value)
    is_hash = key in _HASHES and len(text) > _SHOWN and "@" not in text
    return text[:_SHOWN] if is_hash else text


def _print_uses(image: str, root: Path, *, as_json: bool) -> None:
    from nadir.pipeline.lineage.images import image_hash, uses_of

    uses = uses_of(image_hash(image), root)
    if as_json:
        print_json(uses.as_json())
        return
    sys.stdout.write(f"image {uses.sha256}\n")
    for part in uses.versions:
        sys.stdout.write(f"{_label(part)}: {part.split}, {part.path}\n")
    if not uses.versions:
        sys.stdout.write("no version whose manifest was found has it\n")
    sys.stdout.write(f"not in {len(uses.without)} other versions\n")
    for part, reason in uses.unknown:
        sys.stdout.write(f"{_label(part)}: unknown: {reason}\n")


def _label(part: Part) -> str:
    aliases = f" ({', '.join(part.aliases)})" if part.aliases else ""
    return f"{part.name} version {part.version}{aliases}"


def print_json(value: Any) -> None:
    """Print what is for machines."""
    print_document(value, ensure_ascii=False, default=str)
