"""What a check found, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable

    from nadir.doctor.scene import Scene

State = Literal["ok", "none", "warning", "failed"]
"""`none`: there is nothing to check here. `warning` stops no run; `failed` does, or spoils it."""


@dataclass(frozen=True)
class Finding:
    """The answer of one check.

    Attributes:
        state: How it stands.
        told: What was seen, one sentence without a trailing period.
        fix: What to do about it, with commands in backticks; empty unless something is wrong.
    """

    state: State
    told: str
    fix: str = ""


@dataclass(frozen=True)
class Check:
    """One question.

    Attributes:
        name: Unique, in kebab case; stays, since scripts read it.
        group: What it is shown under.
        look: Answers it. May raise: then the check itself is what failed.
    """

    name: str
    group: str
    look: Callable[[Scene], Finding]


def ok(told: str) -> Finding:
    """Nothing is wrong."""
    return Finding("ok", told)


def none(told: str) -> Finding:
    """There is nothing to check."""
    return Finding("none", told)


def warning(told: str, fix: str) -> Finding:
    """A run goes on, but should not be left so."""
    return Finding("warning", told, fix)


def failed(told: str, fix: str) -> Finding:
    """A run would fail, hang, or give something else than it should."""
    return Finding("failed", told, fix)
