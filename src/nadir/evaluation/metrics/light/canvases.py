"""Brightness on wide and tall canvases: what holds at one shape need not hold at another.

The noise level at which a canvas loses its mean grows with its pixels, and a model trained on
squares alone has not seen the others (paper §2.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.metrics.brightness import region_luminance
from nadir.evaluation.metrics.brightness_error import root_mean_square
from nadir.evaluation.report.sections import BRIGHTNESS

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues


class CanvasError(Metric):
    """Distance between asked and drawn luminance on other canvases.

    Like the probes on the square it needs few images: 8 see an error of 0.1.
    """

    name = "canvas_error"
    title = "Wide and tall"
    unit = "luminance, 0 to 1"
    direction = "lower"
    meaning = (
        "Root mean square of drawn minus asked luminance on wide and tall canvases. It should be "
        "near the brightness error of the usual canvas."
    )
    needs = frozenset({"targets"})
    section = BRIGHTNESS

    def prepare(self, subject: Subject) -> None:
        """Keep which canvases there are."""
        self._sizes = list(dict.fromkeys(p.size for p in subject.plan.of_kind("canvas") if p.size))

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """Distance of each image's luminance from what was asked."""
        if drawn.prompt.kind != "canvas":
            return None
        measured_N = region_luminance(drawn.images_NCHW, drawn.prompt.region or "whole")
        return np.abs(measured_N - (drawn.prompt.target or 0.0))

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """Root mean square of all, and of each canvas."""
        rows = values.rows
        numbers = {self.name: _error(rows["value"].to_numpy(dtype=np.float64))}
        for width, height in self._sizes:
            mine = rows["prompt_id"].str.endswith(f"_{width}x{height}")
            key = f"{self.name}_{width}x{height}"
            numbers[key] = _error(rows[mine]["value"].to_numpy(dtype=np.float64))
        return numbers

    def columns(self) -> dict[str, str]:
        """A column for all and one per canvas."""
        each = {f"{self.name}_{w}x{h}": f"{self.title}: {w} x {h}" for w, h in self._sizes}
        return {self.name: f"{self.title}: brightness error", **each}

    def charts(self, evaluation: Evaluation) -> list[Markup]:  # noqa: ARG002 - a hook
        """None: it is drawn at one scale, and its pictures are in the strips."""
        return []


def _error(errors: NDArray[np.float64]) -> float:
    return root_mean_square(errors) if len(errors) else float("nan")
