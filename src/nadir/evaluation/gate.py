"""The gate: checks, and the verdict they give together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence

Verdict = Literal["promote", "reject", "inconclusive"]
State = Literal["pass", "fail", "unresolved", "skipped"]


@dataclass(frozen=True)
class Check:
    """One line of the gate.

    Attributes:
        name: What is checked.
        value: What was measured; None when it could not be.
        limit: What it is held against.
        state: `unresolved` when the data do not decide, `skipped` when it could not be measured.
        meaning: What the check protects from, one sentence.
        from_below: Whether values below the limit are the bad ones.
    """

    name: str
    value: float | None
    limit: float
    state: State
    meaning: str
    from_below: bool = False


@dataclass(frozen=True)
class Gate:
    """The answer: a verdict, why, and the checks it rests on."""

    verdict: Verdict
    reason: str
    checks: tuple[Check, ...]


def gate(checks: Sequence[Check]) -> Gate:
    """Verdict of the checks: a failure rejects, a doubt leaves it open, else it promotes.

    Skipped checks neither promote nor reject, but with nothing that passed there is no promotion.
    """
    failed = [check for check in checks if check.state == "fail"]
    unresolved = [check for check in checks if check.state == "unresolved"]
    passed = [check for check in checks if check.state == "pass"]
    if failed:
        names = _names(failed)
        return Gate("reject", f"not passed: {names}", tuple(checks))
    if unresolved or not passed:
        names = _names(unresolved) or "every check was skipped"
        return Gate("inconclusive", f"cannot be decided yet: {names}", tuple(checks))
    return Gate("promote", f"all {len(passed)} checks that could run passed", tuple(checks))


def at_most(name: str, value: float | None, limit: float, meaning: str) -> Check:
    """Pass when `value` is no larger than `limit`; skipped when it is None."""
    if value is None:
        return Check(name, None, limit, "skipped", meaning)
    return Check(name, value, limit, "pass" if value <= limit else "fail", meaning)


def at_least(name: str, value: float | None, limit: float, meaning: str) -> Check:
    """Pass when `value` is no smaller than `limit`; skipped when it is None."""
    if value is None:
        return Check(name, None, limit, "skipped", meaning, from_below=True)
    state: State = "pass" if value >= limit else "fail"
    return Check(name, value, limit, state, meaning, from_below=True)


def _names(checks: Sequence[Check]) -> str:
    return ", ".join(check.name.replace("_", " ") for check in checks)
