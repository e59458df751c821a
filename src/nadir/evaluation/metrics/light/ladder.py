"""The brightness ladder: does what is drawn follow what was asked, from black to white.

Sixteen images tell a model pulled to grey from an honest one; from 64 images the distance is 50 to
65 standard deviations, where distances between sets of images need 256 to 1,024
(`docs/evaluation.md`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.metrics.brightness import region_luminance
from nadir.evaluation.metrics.brightness_error import root_mean_square
from nadir.evaluation.report.sections import BRIGHTNESS
from nadir.evaluation.results import scale_key
from nadir.ground.pages.page import number

if TYPE_CHECKING:
    from markupsafe import Markup
    from numpy.typing import NDArray

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues

_MIN_LEVELS = 3


def slope(asked_N: NDArray[np.float64], drawn_N: NDArray[np.float64]) -> float:
    """Least-squares slope from asked to drawn luminance; NaN when one level alone was asked."""
    centred = asked_N - asked_N.mean()
    spread = float((centred**2).sum())
    return float((centred * drawn_N).sum() / spread) if spread > 0 else float("nan")


def reached(drawn_N: NDArray[np.float64]) -> float:
    """Distance from the 5th to the 95th percentile of drawn luminance (0-1)."""
    low, high = np.quantile(drawn_N, [0.05, 0.95])
    return float(high - low)


class Ladder(Metric):
    """Error, slope and range over all levels of brightness that are asked for.

    Needs 64 images for small differences (5 levels with 4 to 8 seeds are 28).
    """

    name = "ladder_error"
    title = "Ladder error"
    unit = "luminance, 0 to 1"
    direction = "lower"
    meaning = (
        "Root mean square of drawn minus asked luminance over all levels from black to white. The "
        "slope from asked to drawn is 1 for a model that follows, 0 for one that stays grey."
    )
    needs = frozenset({"targets"})
    section = BRIGHTNESS

    def prepare(self, subject: Subject) -> None:
        """Keep the deciding scale, at which the levels between are drawn."""
        self._decision_cfg = subject.params.decision_cfg
        probes = subject.plan.of_kind("brightness", "ladder")
        self._enough = len({probe.target for probe in probes}) >= _MIN_LEVELS
        self._pairs: dict[float, list[tuple[float, float]]] = defaultdict(list)

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """Distance of each image's luminance from its level, where all levels are drawn."""
        wanted = drawn.prompt.kind in {"brightness", "ladder"}
        if not wanted or not self._enough or drawn.cfg_scale != self._decision_cfg:
            return None
        target = drawn.prompt.target or 0.0
        measured_N = region_luminance(drawn.images_NCHW, drawn.prompt.region or "whole")
        self._pairs[drawn.cfg_scale] += [(target, float(value)) for value in measured_N]
        return np.abs(measured_N - target)

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """Error, slope and range; nothing where the levels between are not drawn."""
        pairs = np.array(self._pairs.get(values.cfg_scale, []), dtype=np.float64)
        if not len(pairs):
            return {}
        asked_N, drawn_N = pairs.T
        return {
            self.name: root_mean_square(drawn_N - asked_N),
            "ladder_slope": slope(asked_N, drawn_N),
            "ladder_range": reached(drawn_N),
        }

    def columns(self) -> dict[str, str]:
        """The three numbers."""
        return {
            self.name: self.title,
            "ladder_slope": "Ladder slope (asked 1)",
            "ladder_range": "Ladder range",
        }

    def charts(self, evaluation: Evaluation) -> list[Markup]:  # noqa: ARG002 - a hook
        """None of its own: the levels are marks in the chart of drawn by asked luminance."""
        return []

    def card(self, evaluation: Evaluation) -> dict[str, str] | None:
        """The slope at the deciding scale."""
        found = evaluation.scales[scale_key(self._decision_cfg)].get("ladder_slope")
        if found is None:
            return None
        return {
            "label": "Brightness slope",
            "value": number(found),
            "note": "1 follows what is asked, 0 stays grey",
        }
