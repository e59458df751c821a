"""The page about a challenger beside the champion: the verdict first, then what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from PIL import Image

from nadir.evaluation.metrics import METRICS
from nadir.evaluation.results import scale_key
from nadir.evaluation.verdict.judgement import by_scale
from nadir.ground.pages.page import number, render_page, thumbnail_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pandas as pd

    from nadir.config.gate import GateParams
    from nadir.evaluation.verdict.outcome import Judgement, Line

_THUMBNAIL_PX = 192
_MOST_PAIRS = 48  # keeps the page far below 20 MB
_VERDICTS = {
    "promote": ("good", "The challenger takes the champion's place"),
    "reject": ("bad", "The champion stays"),
    "inconclusive": ("unsure", "The data do not decide yet"),
}
_BADGES = {"pass": "pass", "fail": "fail", "unresolved": "warn", "skipped": "skip"}


def render_judgement(
    judgement: Judgement,
    labels: Mapping[str, str],
    *,
    tables: Sequence[pd.DataFrame],
    pictures: Sequence[Path],
    params: GateParams,
) -> str:
    """The page as HTML.

    Args:
        judgement: What became of the comparison.
        labels: Names of champion and challenger.
        tables: Rows of champion and challenger.
        pictures: Their folders of samples; pictures that one of them lacks are left out.
        params: Section `gate`.
    """
    state, headline = _VERDICTS[judgement.verdict]
    looked = by_scale(tables[0], tables[1], params, METRICS)
    names = [guard.metric for guard in dict.fromkeys(line.criterion for line in looked)]
    scales = sorted({line.cfg_scale for line in looked if line.cfg_scale is not None})
    cells = {(line.criterion.metric, line.cfg_scale): _row(line) for line in looked}
    return render_page(
        "judgement.html",
        package="nadir.evaluation.report",
        verdict={"state": state, "headline": headline},
        judgement=judgement,
        labels=labels,
        rows=[_row(line) for line in judgement.lines],
        names=names,
        scales=scales,
        usable=_usable(looked),
        cells=cells,
        scale_key=scale_key,
        pairs=_pairs(pictures, judgement.scales.get("challenger")),
    )


def _row(line: Line) -> dict[str, Any]:
    gain, one = line.gain, line.criterion
    floor = -one.margin
    return {
        "title": one.title or one.metric,
        "name": one.metric,
        "role": one.role,
        "champion": number(line.champion),
        "challenger": number(line.challenger),
        "gain": "" if gain is None else f"{gain.mean:+.4f}",
        "interval": "" if gain is None else f"{gain.low:+.4f} to {gain.high:+.4f}",
        "bar": _bar(line),
        "floor": f"{floor:+.3g}" if floor else "0",
        "noise": "not measured" if line.noise is None else f"± {line.noise:.4f}",
        "units": "" if gain is None else f"{gain.prompts} {_units(line)}",
        "needed": "" if line.needed is None else f"about {line.needed:,} {_units(line)}",
        "state": line.state,
        "badge": _BADGES[line.state],
    }


def _units(line: Line) -> str:
    return "prompts" if line.criterion.unit == "prompt" else "images"


def _bar(line: Line) -> dict[str, float] | None:
    """The interval as shares of a strip that is centred on no change."""
    gain = line.gain
    if gain is None or not gain.half_width < float("inf"):
        return None
    noise, margin = line.noise or 0.0, line.criterion.margin
    reach = 1.1 * max(abs(gain.low), abs(gain.high), margin, noise, 1e-9)
    place = {"low": gain.low, "mean": gain.mean, "high": gain.high, "floor": -margin}
    shares = {name: 50 + 50 * value / reach for name, value in place.items()}
    return {**shares, "noise_low": 50 - 50 * noise / reach, "noise_width": 100 * noise / reach}


def _usable(looked: Sequence[Line]) -> str:
    """The scales at which no guard fails."""
    scales = sorted({line.cfg_scale for line in looked if line.cfg_scale is not None})
    failed = {line.cfg_scale for line in looked if line.state == "fail"}
    return ", ".join(scale_key(scale) for scale in scales if scale not in failed) or "none"


def _pairs(folders: Sequence[Path], scale: float | None) -> list[dict[str, str]]:
    """Pictures of both from the same prompt, noise and scale."""
    if scale is None:
        return []
    middle = f"-cfg-{scale_key(scale)}-"
    shared = [
        path.name
        for path in sorted(folders[1].glob("*.png"))
        if middle in path.name and (folders[0] / path.name).is_file()
    ]
    pairs = []
    for name in shared[:_MOST_PAIRS]:
        uris = []
        for folder in folders:
            with Image.open(folder / name) as picture:
                uris.append(thumbnail_uri(picture, _THUMBNAIL_PX))
        pairs.append({"name": name.removesuffix(".png"), "champion": uris[0], "other": uris[1]})
    return pairs
