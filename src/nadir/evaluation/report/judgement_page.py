"""The page about a challenger beside the champion: the verdict first, then what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.metrics import METRICS
from nadir.evaluation.report.versus import guidance_charts, pairs_of, row_of
from nadir.evaluation.results import scale_key
from nadir.evaluation.verdict.judgement import by_scale, usable_scales
from nadir.ground.pages.page import render_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from nadir.config.gate import GateParams
    from nadir.evaluation.verdict.outcome import Judgement

_VERDICTS = {
    "promote": ("good", "The challenger takes the champion's place"),
    "reject": ("bad", "The champion stays"),
    "inconclusive": ("unsure", "The data do not decide yet"),
}


def render_judgement(
    judgement: Judgement,
    labels: Mapping[str, str],
    *,
    tables: Sequence[pd.DataFrame],
    pictures: Sequence[Path],
    params: GateParams,
    texts: Mapping[str, str],
    origins: Sequence[Mapping[str, str]] = ({}, {}),
) -> str:
    """The page as HTML.

    Args:
        judgement: What became of the comparison.
        labels: Names of champion and challenger.
        tables: Rows of champion and challenger.
        pictures: Their folders of samples; pictures that one of them lacks are left out.
        params: Section `gate`.
        texts: Prompts by id.
        origins: What made champion and challenger: facts by name.
    """
    state, headline = _VERDICTS[judgement.verdict]
    looked = by_scale(tables[0], tables[1], params, METRICS)
    guards = list(dict.fromkeys(line.criterion for line in looked))
    scales = sorted({line.cfg_scale for line in looked if line.cfg_scale is not None})
    at = judgement.scales.get("champion")
    usable = usable_scales(tables[0], tables[1], params, METRICS, at=at) if at else {}
    return render_page(
        "judgement.html",
        package="nadir.evaluation.report",
        verdict={"state": state, "headline": headline},
        judgement=judgement,
        labels=labels,
        sides=("Champion", "Challenger"),
        rows=[row_of(line) for line in judgement.lines],
        names=[guard.metric for guard in guards],
        scales=scales,
        usable={name: ", ".join(map(scale_key, found)) or "none" for name, found in usable.items()},
        cells={(line.criterion.metric, line.cfg_scale): row_of(line) for line in looked},
        charts=guidance_charts(tables, ("champion", "challenger"), METRICS, guards),
        scale_key=scale_key,
        origins=[
            {"name": name, "sides": [side.get(name, "not known") for side in origins]}
            for name in dict.fromkeys(name for side in origins for name in side)
        ],
        pairs=pairs_of(pictures, judgement.scales.get("challenger"), texts),
    )
