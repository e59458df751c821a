"""What came of a comparison: its lines, the verdict on all of them, and both in words."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.evaluation.gate import State, Verdict
    from nadir.evaluation.verdict.comparison import Criterion
    from nadir.evaluation.verdict.intervals import Interval

MOST_TIMES = 1000.0
"""The data that would settle a line are not counted beyond this many times what there are."""


@dataclass(frozen=True)
class Line:
    """One line of the comparison.

    Attributes:
        criterion: What was compared.
        state: `pass`, `fail`, `unresolved` when the data do not decide or only one of the two was
            measured, `skipped` when neither was.
        champion: Its mean.
        challenger: Its mean.
        gain: The improvement with its interval, negative when the challenger is worse.
        needed: Units that would settle it; None when it is settled or no number would.
        noise: Half width of what other seeds alone make of the champion beside itself.
        cfg_scale: The challenger's scale; None for what needs no guidance.
    """

    criterion: Criterion
    state: State
    champion: float | None = None
    challenger: float | None = None
    gain: Interval | None = None
    needed: int | None = None
    noise: float | None = None
    cfg_scale: float | None = None


@dataclass(frozen=True)
class Judgement:
    """What became of the comparison.

    Attributes:
        verdict: Of the lines in `lines`.
        reason: One sentence.
        lines: The primary first; these decide.
        scales: The guidance scale of champion and challenger at which guards were judged.
        chosen: Whether the scales were chosen by the data.
        protocol_id: Of both.
    """

    verdict: Verdict
    reason: str
    lines: tuple[Line, ...] = ()
    scales: dict[str, float] = field(default_factory=dict)
    chosen: bool = False
    protocol_id: str = ""

    def as_json(self) -> dict[str, Any]:
        """Plain values; what is infinite or unknown is null."""
        value: dict[str, Any] = _plain(asdict(self))
        return value


def verdict_of(lines: Sequence[Line]) -> tuple[Verdict, str]:
    """The verdict of some lines, the primary first, and its reason in one sentence."""
    failed = [line for line in lines if line.state == "fail"]
    if failed:
        return "reject", "worse than the champion: " + "; ".join(_told(line) for line in failed)
    primary = lines[0]
    if primary.gain is None:
        return "inconclusive", f"{primary.criterion.metric} was not measured on both"
    # A guard that neither of the two could measure is shown, and decides nothing.
    opened = [line for line in lines if line.state == "unresolved"]
    if opened:
        return "inconclusive", "cannot be decided yet: " + "; ".join(_told(line) for line in opened)
    wide = primary.criterion.margin > 0
    better = "not worse" if wide and (primary.gain and primary.gain.low <= 0) else "better"
    guards = sum(line.state == "pass" for line in lines[1:])
    return "promote", f"{better} than the champion: {_told(primary)}; {guards} guards hold"


def _told(line: Line) -> str:
    """A line in words, such as `loss -0.125 (95 % -0.131 to -0.119)`."""
    gain = line.gain
    if gain is None:
        return f"{line.criterion.metric} was not measured on both"
    text = f"{line.criterion.metric} {_change(line)}"
    if line.state == "unresolved":
        unit = "prompts" if line.criterion.unit == "prompt" else "images"
        many = f"about {line.needed:,}" if line.needed else f"over {MOST_TIMES:,.0f} times the"
        text += f"; {many} {unit} would settle it (now {gain.prompts})"
    return text


def _change(line: Line) -> str:
    """How the metric itself changed, whichever way is good."""
    gain = line.gain
    if gain is None:
        return ""
    sign = 1.0 if line.criterion.direction == "higher" else -1.0
    ends = sorted((sign * gain.low, sign * gain.high))
    what = "distance from 0 " if line.criterion.direction == "zero" else ""
    return f"{what}{sign * gain.mean:+.4f} (95 % {ends[0]:+.4f} to {ends[1]:+.4f})"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
