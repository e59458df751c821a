"""Where measurements go: a page of docs/results with the machine, the date and the command."""

from __future__ import annotations

import datetime as dt
import os
import platform
import sys
from pathlib import Path

import torch

ROOT = Path(__file__).resolve().parents[1]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def write(name: str, title: str, body: str) -> None:
    """Print a measurement and write it to docs/results/`name`.md."""
    today = dt.datetime.now(tz=dt.UTC).date()
    machine = f"{platform.machine()} CPU, {os.cpu_count()} cores, {torch.get_num_threads()} used"
    if torch.cuda.is_available():
        machine += f"; {torch.cuda.get_device_name()}"
    command = " ".join(["python -m", f"bench.{Path(sys.argv[0]).stem}", *sys.argv[1:]])
    head = (
        f"# {title}\n\nMeasured {today} by `{command}` on {machine}, torch {torch.__version__}.\n\n"
    )
    path = ROOT / "docs" / "results" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(head + body.strip() + "\n", encoding="utf-8")
    print(head + body.strip())
