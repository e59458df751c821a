"""Where measurements go: pages of docs/, with the machine, the date and the command."""

from __future__ import annotations

import datetime as dt
import os
import platform
import re
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table; every column but the first is right-aligned."""
    rule = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, rule, *rows))


def write(name: str, title: str, body: str) -> None:
    """Print a measurement and write it to docs/results/`name`.md."""
    stated = f"Measured {_today()} by `{_command()}` on {_processors()}."
    page = f"# {title}\n\n{stated}\n\n{body.strip()}\n"
    path = ROOT / "docs" / "results" / f"{name}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page, encoding="utf-8")
    print(page.strip())


def write_section(path: Path, head: str, title: str, body: str, *, command: str = "") -> None:
    """Print a measurement and put it into its section of a page, which is made or replaced.

    Args:
        path: The page.
        head: What the page begins with when it is made.
        title: Of the section.
        body: What was measured.
        command: What measured it; else the running module of `bench`.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = f"{os.cpu_count()}-core {platform.machine()} VM, {memory:.0f} GiB"
    stated = f"`{command or _command(options=False)}`, {_today()}, {machine}."
    section = f"## {title}\n\n{stated}\n\n{body.strip()}\n"
    print(section)
    text = path.read_text(encoding="utf-8") if path.is_file() else head
    parts = re.split(r"(?m)^(?=## )", text)
    names = [part.partition("\n")[0] for part in parts]
    if f"## {title}" in names:
        parts[names.index(f"## {title}")] = section
    else:
        parts.append(section)
    path.write_text("\n".join(part.strip() + "\n" for part in parts), encoding="utf-8")


def _today() -> dt.date:
    return dt.datetime.now(tz=dt.UTC).date()


def _command(*, options: bool = True) -> str:
    module = f"python -m bench.{Path(sys.argv[0]).stem}"
    return f"{module} {shlex.join(sys.argv[1:])}".strip() if options else module


def _processors() -> str:
    """The machine, and of torch what a measurement used that has loaded it."""
    machine = f"{platform.machine()} CPU, {os.cpu_count()} cores"
    torch = sys.modules.get("torch")
    if torch is None:
        return machine
    used = f"{machine}, {torch.get_num_threads()} used"
    if torch.cuda.is_available():
        used += f"; {torch.cuda.get_device_name()}"
    return f"{used}, torch {torch.__version__}"
