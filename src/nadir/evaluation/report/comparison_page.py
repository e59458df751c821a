"""The page about two models made anywhere: what differs, with intervals; no verdict."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.metrics import METRICS
from nadir.evaluation.report.versus import guidance_charts, pairs_of, row_of
from nadir.evaluation.results import scale_key
from nadir.evaluation.verdict.comparison import criterion_of, mean_of, rows_of
from nadir.evaluation.verdict.outcome import Line
from nadir.ground.pages.page import render_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from nadir.evaluation.gate import State
    from nadir.evaluation.verdict.intervals import Interval

_WORDS = {"pass": "better", "fail": "worse", "unresolved": "not told apart"}


def render_comparison(
    gains: Mapping[str, Interval],
    labels: Sequence[str],
    *,
    tables: Sequence[pd.DataFrame],
    pictures: Sequence[Path],
    texts: Mapping[str, str],
    cfg_scale: float,
) -> str:
    """The page as HTML.

    Args:
        gains: How much better the second is, by metric.
        labels: Names of both: the one compared with, and the model.
        tables: Their rows.
        pictures: Their folders of samples.
        texts: Prompts by id.
        cfg_scale: Where they are compared.
    """
    lines = []
    for metric in METRICS:
        gain, one = gains.get(metric.name), criterion_of(metric, "guard")
        if gain is None or one is None:
            continue
        means = [mean_of(rows_of(table, one, cfg_scale), one) for table in tables]
        lines.append(Line(one, _state(gain), means[0], means[1], gain, cfg_scale=cfg_scale))
    drawn = [line.criterion for line in lines]
    counts = {state: sum(line.state == state for line in lines) for state in _WORDS}
    return render_page(
        "comparison.html",
        package="nadir.evaluation.report",
        labels=labels,
        sides=("Against", "Model"),
        counts={_WORDS[state]: count for state, count in counts.items()},
        rows=[row_of(line, _WORDS) for line in lines],
        charts=guidance_charts(tables, ("against", "model"), METRICS, drawn),
        scale=scale_key(cfg_scale),
        pairs=pairs_of(pictures, cfg_scale, texts),
    )


def _state(gain: Interval) -> State:
    return "pass" if gain.low > 0 else "fail" if gain.high < 0 else "unresolved"
