"""`nadir compare`: two models on one page, drawn from one noise."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.cli.model.models import model_path

if TYPE_CHECKING:
    from nadir.serving.compare.pair import Named

_FORMS = "a number or an alias of this project's model, models:/NAME@ALIAS, a folder or a file"


def compare(
    first: Annotated[
        str | None,
        typer.Argument(help=f"{_FORMS}; else the champion.", metavar="FIRST"),
    ] = None,
    second: Annotated[
        str | None,
        typer.Argument(
            help="The same; else the challenger, or beside one model the champion.",
            metavar="SECOND",
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(help="Of the page on 127.0.0.1; 0 takes a free one.", metavar="N")
    ] = 4300,
) -> None:
    """Open a page that draws two models side by side from one seed, until Ctrl-C.

    Both are kept in memory; on a GPU they take turns. Only this machine's browser is answered.

    Examples:
      nadir compare
      nadir compare 3 challenger
      nadir compare other.safetensors
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    from nadir.serving.compare.server import listen, serve
    from nadir.serving.limits import read_limits

    limits = read_limits(None, os.environ)
    with listen(port) as listening:
        named = _told_apart(*(_named(text) for text in _chosen(first, second)))
        from nadir.compute.devices import pick_device
        from nadir.serving.compare.pair import Pair

        sys.stdout.write(f"{named[0].label} beside {named[1].label}\n")
        pair = Pair(named, str(pick_device("auto")), limits)
        with contextlib.suppress(KeyboardInterrupt):
            serve(pair, limits, listening, _tell)
        # A picture that is being drawn is not waited for, and an interpreter that ends while torch
        # works is aborted.
        sys.stdout.flush()
        os._exit(0)


def _chosen(first: str | None, second: str | None) -> tuple[str, str]:
    if first is None:
        return "champion", "challenger"
    return ("champion", first) if second is None else (first, second)


def _told_apart(first: Named, second: Named) -> tuple[Named, Named]:
    """Files and folders of one name by what they lie in."""
    if first.label != second.label or first.path == second.path:
        return first, second
    parts = [one.path.resolve().parts for one in (first, second)]
    shared = next(n for n in itertools.count(1) if parts[0][-n:] != parts[1][-n:])
    labels = ["/".join(names[-shared:]) for names in parts]
    return replace(first, label=labels[0]), replace(second, label=labels[1])


def _named(text: str) -> Named:
    """A model and what to call it: a version by its alias and number, another by its name."""
    from nadir.serving.compare.pair import Named

    if Path(text).expanduser().exists():
        return Named(Path(text).name or text, model_path(text))
    if not text.startswith("models:/") and ("/" in text or Path(text).suffix):
        return Named(text, model_path(text))  # says that there is none
    from nadir.ground.workspace import project_root
    from nadir.tracking.registry.versions import resolve_version, version_uri

    uri = version_uri(text, project_root())
    version = resolve_version(uri, project_root())
    alias = uri.partition("@")[2]
    label = f"version {version.version}"
    return Named(f"{alias} ({label})" if alias else label, model_path(uri))


def _tell(address: str) -> None:
    sys.stdout.write(f"{address}\n(Ctrl-C closes it)\n")
    sys.stdout.flush()
