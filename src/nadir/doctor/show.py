"""Findings as a table for people, and as JSON for scripts."""

from __future__ import annotations

import itertools
import os
import shutil
import textwrap
from typing import TYPE_CHECKING, Any

from nadir.ground.terminal import harmless

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

    from nadir.doctor.finding import Check, Finding, State

_WIDEST = 100
_NAME = 22
_WORDS: dict[State, str] = {"ok": "ok", "none": "-", "warning": "warn", "failed": "FAIL"}
_COLOURS: dict[State, int] = {"ok": 32, "none": 2, "warning": 33, "failed": 31}


def as_table(found: Sequence[tuple[Check, Finding]], out: TextIO) -> str:
    """A line for each check below its group's name; remedies below what they are for."""
    coloured = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
    width = min(shutil.get_terminal_size((_WIDEST, 24)).columns, _WIDEST)
    lines: list[str] = []
    for group, members in itertools.groupby(found, key=lambda pair: pair[0].group):
        lines += ["", group]
        for check, finding in members:
            lines += _lines(check, finding, width, coloured=coloured)
    return "\n".join([*lines, "", _summary(found), ""])


def as_json(found: Sequence[tuple[Check, Finding]]) -> dict[str, Any]:
    """`ok`, and under `checks` the name, group, state, text and remedy of each; keys stay."""
    checks = [
        {
            "name": check.name,
            "group": check.group,
            "state": finding.state,
            "told": harmless(finding.told),
            "fix": harmless(finding.fix),
        }
        for check, finding in found
    ]
    return {"ok": all(entry["state"] != "failed" for entry in checks), "checks": checks}


def _lines(check: Check, finding: Finding, width: int, *, coloured: bool) -> list[str]:
    word = f"{_WORDS[finding.state]:<5}"
    if coloured:
        word = f"\033[{_COLOURS[finding.state]}m{word}\033[0m"
    margin = " " * (2 + 5 + _NAME + 1)
    told = _wrapped(finding.told, width, margin)
    lines = [f"  {word}{check.name:<{_NAME}} {told[0].strip()}", *told[1:]]
    if finding.fix:
        lines += _wrapped(f"fix: {finding.fix}", width, margin)
    return lines


def _wrapped(text: str, width: int, margin: str) -> list[str]:
    # Whole commands stay copyable: a path is never broken in two.
    return textwrap.wrap(
        harmless(text),
        width,
        initial_indent=margin,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [margin]


def _summary(found: Sequence[tuple[Check, Finding]]) -> str:
    counts = {state: sum(f.state == state for _, f in found) for state in _WORDS}
    return f"{counts['ok']} ok, {counts['warning']} warnings, {counts['failed']} failed"
