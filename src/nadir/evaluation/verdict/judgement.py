"""The verdict on a challenger beside the champion: one metric decides, the others guard.

Both were drawn by one protocol, so everything is paired by prompt and noise. The guidance scale is
chosen for each on one half of the prompts and judged on the other: who chooses the best of five
scales on the numbers that are judged finds it better than it is.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from nadir.evaluation.verdict.comparison import (
    Criterion,
    criterion_of,
    gain_of,
    mean_of,
    require_same_protocol,
    rows_of,
    scales_of,
)
from nadir.evaluation.verdict.halves import Halves
from nadir.evaluation.verdict.intervals import RESAMPLES
from nadir.evaluation.verdict.noise_floor import noise_floor
from nadir.evaluation.verdict.outcome import MOST_TIMES, Judgement, Line, verdict_of
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from nadir.config.gate import GateParams
    from nadir.evaluation.gate import State
    from nadir.evaluation.metric import Metric
    from nadir.evaluation.verdict.intervals import Interval

EVERY = "_*"
"""End of a guard that stands for every part of a metric."""
_FEWEST = 4  # units; fewer give an interval that means nothing
_POWER = 1 + 0.84 / 1.96  # the half width that is needed, and what chance adds in one case of five
_TO_LOOK_AT = 2_000  # resamples of intervals that no verdict hangs on


def judge(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    params: GateParams,
    metrics: Sequence[type[Metric]],
    *,
    resamples: int = RESAMPLES,
) -> Judgement:
    """Judge a challenger beside the champion.

    Args:
        champion: Rows of its evaluation table.
        challenger: Rows of its own, of the same protocol.
        params: Section `gate`.
        metrics: Which there are, for the good direction of each.
        resamples: Of each interval.

    Raises:
        NadirError: The protocols differ, or the parameters name a metric that cannot be compared.
    """
    require_same_protocol(champion, challenger)
    primary, guards = criteria(params, metrics)
    tables = {"champion": champion, "challenger": challenger}
    guards = spelt_out(guards, list(tables.values()), params)
    halves = {guard: Halves.of(list(tables.values()), guard) for guard in guards}
    fixed = params.cfg_scale
    scales = {name: fixed or choose_scale(table, halves) for name, table in tables.items()}
    lines = []
    for one in (primary, *guards):
        at = _only_scale(one, tables, scales)
        # Where a scale was chosen, by one half of the prompts, the other half judges.
        judging = None if fixed or at is not scales else halves.get(one)
        lines.append(_line(tables, one, at, judging, resamples=resamples))
    verdict, reason = verdict_of(lines)
    return Judgement(
        verdict=verdict,
        reason=reason,
        lines=tuple(lines),
        scales={name: scale for name, scale in scales.items() if scale is not None},
        chosen=fixed is None,
        protocol_id=str(challenger["protocol_id"].iloc[0]) if len(challenger) else "",
    )


def by_scale(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    params: GateParams,
    metrics: Sequence[type[Metric]],
) -> list[Line]:
    """Every guard at every scale, both at the same: to look at, no verdict hangs on it."""
    tables = {"champion": champion, "challenger": challenger}
    _, guards = criteria(params, metrics)
    guards = spelt_out(guards, [champion, challenger], params)
    return [
        _line(tables, guard, dict.fromkeys(tables, scale), resamples=_TO_LOOK_AT)
        for scale in scales_of(challenger)
        for guard in guards
    ]


def usable_scales(
    champion: pd.DataFrame,
    challenger: pd.DataFrame,
    params: GateParams,
    metrics: Sequence[type[Metric]],
    *,
    at: float,
) -> dict[str, list[float]]:
    """The scales of each at which no guard fails beside the champion at the scale it is used at.

    Args:
        champion: Rows of its evaluation table.
        challenger: Rows of its own.
        params: Section `gate`.
        metrics: Which there are.
        at: The champion's scale.
    """
    _, guards = criteria(params, metrics)
    guards = spelt_out(guards, [champion, challenger], params)
    usable: dict[str, list[float]] = {}
    for name, table in (("champion", champion), ("challenger", challenger)):
        tables = {"champion": champion, "challenger": table}
        usable[name] = [
            scale
            for scale in scales_of(table)
            if not any(
                _line(
                    tables,
                    guard,
                    {"champion": at, "challenger": scale},
                    resamples=_TO_LOOK_AT,
                    with_noise=False,
                ).state
                == "fail"
                for guard in guards
            )
        ]
    return usable


def criteria(
    params: GateParams, metrics: Sequence[type[Metric]]
) -> tuple[Criterion, list[Criterion]]:
    """The primary and the guards that the parameters name.

    A guard may name a part of a metric: `tag_recall_rare` is compared as `tag_recall` is. One that
    ends in `_*` stands for several parts; `spelt_out` replaces it.

    Raises:
        NadirError: There is no such metric, or it has no values that are good by themselves.
    """
    primary = params.primary
    return (
        _criterion("primary", primary.metric, primary.margin, metrics),
        [_criterion("guards", name, margin, metrics) for name, margin in params.guards.items()],
    )


def spelt_out(
    guards: Sequence[Criterion], tables: Sequence[pd.DataFrame], params: GateParams
) -> list[Criterion]:
    """The guards with each that ends in `_*` replaced by the parts that it stands for.

    Those are the parts that any of the tables has by enough prompts for a verdict. Of others
    nobody asked by name, so too few prompts leave nothing open.

    Args:
        guards: From `criteria`.
        tables: Rows of both.
        params: Section `gate`.
    """
    fewest = _FEWEST if params.cfg_scale else 2 * _FEWEST  # half of them judge
    found = []
    for guard in guards:
        if not guard.metric.endswith(EVERY):
            found.append(guard)
            continue
        prefix = guard.metric.removesuffix("*")
        prompts = [
            table[table["metric"].str.startswith(prefix)].groupby("metric")["prompt_id"].nunique()
            for table in tables
        ]
        names = {str(name) for part in prompts for name in part[part >= fewest].index}
        found += [
            replace(guard, metric=name, title=guard.title.replace("*", name.removeprefix(prefix)))
            for name in sorted(names)
        ]
    return found


def choose_scale(table: pd.DataFrame, guards: Mapping[Criterion, Halves]) -> float | None:
    """The scale at which a checkpoint is best by all guards together, on one half of the prompts.

    Each guard counts in units of its margin, so none that rises with guidance chooses alone.
    """
    scales = scales_of(table)
    costs = dict.fromkeys(scales, 0.0)
    for guard, halves in guards.items():
        means = {s: mean_of(halves.choosing(rows_of(table, guard, s)), guard) for s in scales}
        if means and all(math.isfinite(mean) for mean in means.values()):
            sign = -1.0 if guard.direction == "higher" else 1.0
            for scale, mean in means.items():
                costs[scale] += sign * mean / guard.margin
    return min(scales, key=lambda scale: (costs[scale], scale), default=None)


def _line(
    tables: dict[str, pd.DataFrame],
    criterion: Criterion,
    scales: Mapping[str, float | None],
    halves: Halves | None = None,
    *,
    resamples: int,
    with_noise: bool = True,
) -> Line:
    """A criterion on the judging half, or on all prompts where nothing was chosen."""
    rows = {name: rows_of(table, criterion, scales[name]) for name, table in tables.items()}
    if halves is not None:
        rows = {name: halves.judging(mine) for name, mine in rows.items()}
    gain = gain_of(rows["champion"], rows["challenger"], criterion, resamples=resamples)
    if gain is None:
        # What only one of them has may be a fault that the other one's pictures hide.
        neither = all(mine.empty for mine in rows.values())
        state: State = "skipped" if neither else "unresolved"
        return Line(criterion, state, cfg_scale=scales["challenger"])
    state = _state(gain, -criterion.margin)
    return Line(
        criterion=criterion,
        state=state,
        champion=mean_of(rows["champion"], criterion),
        challenger=mean_of(rows["challenger"], criterion),
        gain=gain,
        needed=_needed(gain, -criterion.margin) if state == "unresolved" else None,
        noise=noise_floor(rows["champion"], criterion, resamples=resamples) if with_noise else None,
        cfg_scale=scales["challenger"],
    )


def _state(gain: Interval, floor: float) -> State:
    if gain.prompts < _FEWEST:
        return "unresolved"
    if gain.low > floor:
        return "pass"
    return "fail" if gain.high < floor else "unresolved"


def _needed(gain: Interval, floor: float) -> int | None:
    """Units that would settle it four times in five: an interval shrinks with their root."""
    distance = abs(gain.mean - floor)
    few = max(_FEWEST, gain.prompts + 1)
    if gain.half_width == 0 or gain.prompts < 2:
        return few if gain.prompts < _FEWEST else None
    if distance == 0:
        return None
    times = (_POWER * gain.half_width / distance) ** 2
    return max(math.ceil(gain.prompts * times), few) if times <= MOST_TIMES else None


def _only_scale(
    criterion: Criterion,
    tables: dict[str, pd.DataFrame],
    chosen: Mapping[str, float | None],
) -> Mapping[str, float | None]:
    """None for a metric without scales, its own for one that is drawn at one; else the chosen."""
    mine = [table[table["metric"] == criterion.metric]["cfg_scale"] for table in tables.values()]
    found = {scale for scales in mine for scale in scales.dropna()}
    if len(found) > 1 or all(scales.empty for scales in mine):
        return chosen
    return dict.fromkeys(tables, float(found.pop()) if found else None)


def _criterion(key: str, name: str, margin: float, metrics: Sequence[type[Metric]]) -> Criterion:
    known = [m for m in metrics if name == m.name or name.startswith(f"{m.name}_")]
    metric = max(known, key=lambda found: len(found.name), default=None)
    role: Literal["primary", "guard"] = "primary" if key == "primary" else "guard"
    found = criterion_of(metric, role, name=name, margin=margin) if metric else None
    if found is None:
        good = ", ".join(m.name for m in metrics if m.direction != "target")
        what = "has values that are good only beside a target" if metric else "is not a metric"
        raise NadirError(
            f"`{name}` {what}", where=f"gate.{key} in params.yaml", fix=f"choose among {good}"
        )
    return found
