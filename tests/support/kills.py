"""Kills that hit a stage at work, and the page that tells of many of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench.results import ROOT, write_section

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = ROOT / "docs" / "results" / "kills.md"
_HEAD = """\
# Killed stages

`make evidence` kills a stage (SIGKILL) at a random moment of its work, runs it again to its end and
compares what it leaves with an undisturbed run's; and so on. A kill that comes after the stage's
end counts for nothing and is made again, earlier.
"""


def until_it_hits(kill: Callable[[float], bool], span_s: float) -> None:
    """Kill somewhere in a span of seconds, and in half of it where the stage had ended before.

    Args:
        kill: Starts the stage anew and kills it within so many seconds; whether it was at work.
        span_s: How long an undisturbed run takes.
    """
    for halvings in range(12):
        if kill(span_s / 2**halvings):
            return
    pytest.fail("the stage ends before anything can kill it")


def record(stage: str, *, kills: int, alone: int, span_s: float, compared: str) -> None:
    """Write a stage's section of docs/results/kills.md.

    Args:
        stage: Its name.
        kills: How many hit it; after each, everything was equal.
        alone: How many of them killed its first process only.
        span_s: How long an undisturbed run takes.
        compared: What was equal, and how.
    """
    body = (
        f"{kills} kills hit it at work, {alone} of them its first process alone and "
        f"{kills - alone} all of its processes; an undisturbed run takes {span_s:.0f} s. "
        f"After each of the {kills} and the run that followed, equal to the undisturbed run's: "
        f"{compared}."
    )
    write_section(PAGE, _HEAD, stage, body, command="make evidence")
