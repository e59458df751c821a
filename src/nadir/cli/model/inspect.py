"""`nadir inspect`: what a model is, and how other programs will sample it."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nadir.ground.errors import NadirError
from nadir.ground.logs.stream import print_document
from nadir.ground.workspace import expanded

if TYPE_CHECKING:
    from pathlib import Path

    from nadir.model.single_file.description import Description


def inspect(
    model: Annotated[
        str, typer.Argument(help="A .safetensors file or a diffusers folder.", metavar="MODEL")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, whose keys stay.")] = False,
) -> None:
    """Say what a checkpoint or adapter is, by which marks, and how each program will sample it.

    No weights are loaded. A program that would sample by another noise process than the model was
    trained for is marked, with what to do there.

    Examples:
      nadir inspect nadir.safetensors
      nadir inspect models/checkpoint
    """
    path = expanded(model)
    if not path.exists():
        raise NadirError(
            "no such file or folder",
            where=model,
            fix="name a .safetensors file or a diffusers folder",
        )
    from nadir.model.single_file.description import describe

    found = describe(path)
    if as_json:
        print_document(_as_json(found))
    else:
        _print(path, found)


def _as_json(found: Description) -> dict[str, Any]:
    value = dataclasses.asdict(found)
    for shown, treatment in zip(value["treatments"], found.treatments, strict=True):
        shown["right"] = None if found.noise is None else treatment.is_right(found.noise)
    return value


def _print(path: Path, found: Description) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    facts = Table.grid(padding=(0, 2))
    rows = {
        "model": str(path),
        "what": found.what,
        "size": found.size,
        "noise": _process(found),
        "marks": "\n".join(found.marks),
        **found.said,
    }
    for name, value in rows.items():
        if value:
            facts.add_row(name, Text(_harmless(value)))
    console.print(facts)
    if not found.treatments:
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in ("program", "samples by", "because of", "to do there"):
        table.add_column(column, overflow="fold")
    for treatment in found.treatments:
        right = found.noise is None or treatment.is_right(found.noise)
        process = _named(treatment.prediction, zero=treatment.zero_terminal)
        cells = [treatment.program, process, treatment.mark, "" if right else treatment.remedy]
        table.add_row(*map(Text, map(_harmless, cells)), style="" if right else "yellow")
    console.print()
    console.print(table)


def _harmless(text: str) -> str:
    """Text of a stranger's file, which may hold what a terminal would obey."""
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)


def _process(found: Description) -> str:
    if found.fault:
        return f"cannot be told: {found.fault}"
    if found.noise is None:
        return "its base's" if found.what.startswith("a LoRA") else ""
    return _named(found.noise["prediction"], zero=found.noise["zero_terminal_snr"])


def _named(prediction: str, *, zero: bool) -> str:
    return f"{prediction}, zero terminal SNR" if zero else prediction
