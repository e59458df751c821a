"""The course of the training that made the checkpoint, from the plot data of stage `train`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from nadir.diffusion.loss_weight import SIGMA_BANDS
from nadir.ground.pages.charts import Series, line_chart

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from markupsafe import Markup

_IMAGES = "images"
_AXIS = "images seen"
_LOSSES = {"loss": "weighted", "unweighted_loss": "not weighted"}
_BANDS = {"low_sigma": "low", "mid_sigma": "mid", "high_sigma": "high"}
_OF_BANDS = (
    f"Low: sigma up to {SIGMA_BANDS[0]:g}, details; mid: up to {SIGMA_BANDS[1]:.3g}, shapes; "
    "high: above, layout and brightness."
)
_TAGS = {"head_tags": "head", "mid_tags": "mid", "tail_tags": "tail"}
_MOST_POINTS = 200
"""Of a line; a long training has thousands of rows, and the page is to stay small."""


def training_charts(curve: Path) -> list[Markup]:
    """Loss, then errors by band of sigma and rarity of tags, over the images that training saw.

    Args:
        curve: `reports/loss.csv`.

    Returns:
        None where there is no such file; the training's loss alone where it measured no held-out
        image on its way.
    """
    if not curve.is_file():
        return []
    rows = pd.read_csv(curve)
    charts = [
        _chart(
            rows,
            _LOSSES,
            title="Training loss",
            caption="Mean over the steps since the last point. The loss that is minimised is "
            "weighted by noise level and tags; the other one is the plain error of the prediction.",
        ),
        _chart(
            rows,
            _prefixed("training", _BANDS),
            title="Training loss by band of sigma",
            caption=f"The plain error of the prediction, by the noise that was added. {_OF_BANDS}",
        ),
        _chart(
            rows,
            _prefixed("heldout", _BANDS),
            title="Held-out error by band of sigma",
            caption="Error of the guessed clean image on images that training never saw, always "
            f"with the same noise. A line that rises again is overfitting. {_OF_BANDS}",
        ),
        _chart(
            rows,
            _prefixed("heldout", _TAGS),
            title="Held-out error by rarity of tags",
            caption="Over all levels of noise. The images in three equal groups by their rarest "
            "tag: tail has the rarest.",
        ),
    ]
    return [chart for chart in charts if chart is not None]


def _prefixed(prefix: str, names: Mapping[str, str]) -> dict[str, str]:
    return {f"{prefix}_{name}": title for name, title in names.items()}


def _chart(
    rows: pd.DataFrame, columns: Mapping[str, str], *, title: str, caption: str
) -> Markup | None:
    lines = []
    for name, shown in columns.items():
        if name in rows:
            some = rows[[_IMAGES, name]].dropna()
            some = some.iloc[:: max(1, len(some) // _MOST_POINTS)]
            if len(some):
                lines.append(Series(shown, some[_IMAGES].tolist(), some[name].tolist()))
    if not lines:
        return None
    return line_chart(lines, title=title, x_label=_AXIS, from_zero=True, caption=caption)
