"""Two models side by side: lines with intervals, pairs of pictures, numbers over the scales."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from PIL import Image

from nadir.evaluation.report.figures import SCALE_AXIS, interval_series
from nadir.evaluation.results import scale_key
from nadir.evaluation.values import prompt_means
from nadir.evaluation.verdict.comparison import Criterion, criterion_of, rows_of, scales_of
from nadir.ground.pages.charts import Level, Series, line_chart, path_chart
from nadir.ground.pages.page import number, thumbnail_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd
    from markupsafe import Markup

    from nadir.evaluation.metric import Metric
    from nadir.evaluation.verdict.intervals import Interval
    from nadir.evaluation.verdict.outcome import Line

_SIDE_PX = 320
_MOST_PAIRS = 48  # keeps the page far below 20 MB
_BADGES = {"pass": "pass", "fail": "fail", "unresolved": "warn", "skipped": "skip"}
# What guidance buys, and what it costs: pictures that are brighter coloured than real ones.
_BOUGHT, _PAID = "tag_recall", "chroma_gap"


def row_of(line: Line, words: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A line for the table; `words` says each state in other words."""
    gain, one = line.gain, line.criterion
    floor = -one.margin
    return {
        "title": one.title or one.metric,
        "name": one.metric,
        "role": one.role,
        "champion": number(line.champion),
        "challenger": number(line.challenger),
        "gain": "" if gain is None else f"{gain.mean:+.4f}",
        "interval": _interval(gain),
        "bar": _bar(line),
        "floor": f"{floor:+.3g}" if floor else "0",
        "noise": "not measured" if line.noise is None else f"± {line.noise:.4f}",
        "units": "" if gain is None else f"{gain.prompts} {_units(line)}",
        "needed": "" if line.needed is None else f"about {line.needed:,} {_units(line)}",
        "state": (words or {}).get(line.state, line.state),
        "badge": _BADGES[line.state],
    }


def _interval(gain: Interval | None) -> str:
    if gain is None:
        return ""
    if not math.isfinite(gain.half_width):
        return "too few values for an interval"
    return f"{gain.low:+.4f} to {gain.high:+.4f}"


def _units(line: Line) -> str:
    return "prompts" if line.criterion.unit == "prompt" else "images"


def _bar(line: Line) -> dict[str, float] | None:
    """The interval as shares of a strip that is centred on no change."""
    gain = line.gain
    if gain is None or not math.isfinite(gain.half_width):
        return None
    noise, margin = line.noise or 0.0, line.criterion.margin
    reach = 1.1 * max(abs(gain.low), abs(gain.high), margin, noise, 1e-9)
    place = {"low": gain.low, "mean": gain.mean, "high": gain.high, "floor": -margin}
    shares = {name: 50 + 50 * value / reach for name, value in place.items()}
    return {**shares, "noise_low": 50 - 50 * noise / reach, "noise_width": 100 * noise / reach}


def pairs_of(
    folders: Sequence[Path], scale: float | None, texts: Mapping[str, str]
) -> list[dict[str, str]]:
    """Pictures of both from the same prompt, noise and scale; what one of them lacks is left out.

    Args:
        folders: Samples of both.
        scale: Guidance scale of the pictures; None gives none.
        texts: Prompts by id.
    """
    if scale is None:
        return []
    middle = f"-cfg-{scale_key(scale)}-seed-"
    shared = [
        path.name
        for path in sorted(folders[1].glob("*.png"))
        if middle in path.name and (folders[0] / path.name).is_file()
    ]
    pairs = []
    for name in shared[:_MOST_PAIRS]:
        prompt, seed = name.removesuffix(".png").split(middle)
        uris = []
        for folder in folders:
            with Image.open(folder / name) as picture:
                uris.append(thumbnail_uri(picture, _SIDE_PX))
        caption = f"{texts.get(prompt, prompt)}, seed {seed}"
        pairs.append({"name": caption, "first": uris[0], "second": uris[1]})
    return pairs


def guidance_charts(
    tables: Sequence[pd.DataFrame],
    names: Sequence[str],
    metrics: Sequence[type[Metric]],
    criteria: Sequence[Criterion],
) -> list[Markup]:
    """What guidance buys against what it costs, then each metric of some over the scales.

    Args:
        tables: Rows of both.
        names: What to call them.
        metrics: Which there are.
        criteria: Metrics to draw over the scales.
    """
    path = trade_off(tables, names, metrics)
    charts = [_over_scales(tables, names, one) for one in criteria]
    return [chart for chart in (path, *charts) if chart is not None]


def trade_off(
    tables: Sequence[pd.DataFrame], names: Sequence[str], metrics: Sequence[type[Metric]]
) -> Markup | None:
    """What guidance buys against what it costs; None where one of them was not measured.

    Args:
        tables: Rows of one model or several.
        names: What to call them.
        metrics: Which there are.
    """
    known = {metric.name: found for metric in metrics if (found := criterion_of(metric, "guard"))}
    if not {_BOUGHT, _PAID} <= set(known):
        return None
    paths, labels = [], []
    for table, name in zip(tables, names, strict=True):
        points = []
        for scale in scales_of(table):
            means = [prompt_means(rows_of(table, known[m], scale)) for m in (_BOUGHT, _PAID)]
            if all(len(part) for part in means):
                points.append((scale, means[0].mean(), abs(means[1]).mean()))
        if not points:
            return None
        scales, bought, paid = zip(*points, strict=True)
        paths.append(Series(name, bought, paid))
        # Of several paths the ends alone, or they hide one another.
        named = scales if len(tables) == 1 else (scales[0], scales[-1])
        labels.append([scale_key(scale) if scale in named else "" for scale in scales])
    return path_chart(
        paths,
        labels,
        title=f"Size of the {known[_PAID].title.lower()} over tag recall",
        x_label=f"{known[_BOUGHT].title} (right: asked tags are drawn)",
        caption="One point a guidance scale, joined from the lowest to the highest. Right is "
        "closer to the prompt, down is closer to the colours of real images"
        + (": the better model's path is lower right." if len(tables) > 1 else "."),
    )


def _over_scales(
    tables: Sequence[pd.DataFrame], names: Sequence[str], one: Criterion
) -> Markup | None:
    """A metric of both over the scales with intervals; None where there is one scale."""
    lines = []
    for table, name in zip(tables, names, strict=True):
        groups = [(scale, prompt_means(rows_of(table, one, scale))) for scale in scales_of(table)]
        drawn = [(scale, means) for scale, means in groups if len(means)]
        if len(drawn) < 2:
            return None
        scales, values = zip(*drawn, strict=True)
        if one.unit == "prompt":
            lines.append(interval_series(name, scales, values))
        else:  # an interval over few prompts that are asked on purpose says nothing
            lines.append(Series(name, scales, [float(means.mean()) for means in values]))
    good = {"higher": "Higher is better.", "lower": "Lower is better.", "zero": "0 is best."}
    return line_chart(
        lines,
        title=one.title if one.metric.count("_") == 0 else f"{one.title} ({one.metric})",
        x_label=SCALE_AXIS,
        x_ticks=list(lines[0].x),
        levels=[Level(0.0, "as in real images")] if one.direction == "zero" else [],
        from_zero=one.direction != "zero",
        caption=good[one.direction]
        + (" Bands are 95 % intervals over prompts." if one.unit == "prompt" else ""),
    )
