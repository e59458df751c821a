"""Recall and coverage: how much of what real images show is drawn at all.

Guidance pays for faithfulness with variety; a model that draws a few pictures over and over shows
here (12 to 41 standard deviations at 256 images, 3 to 4 at 64: `docs/evaluation.md`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.report.sections import DISTRIBUTION
from nadir.ground.pages.charts import Level

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues

NEIGHBOURS = 5
_MIN_IMAGES = 16


def recall(drawn_NF: NDArray[np.float64], real_MF: NDArray[np.float64]) -> float:
    """Share of real images within the reach of a drawn one (0-1).

    The reach is the distance to the fifth nearest drawn image (Kynkäänniemi et al., 1904.06991).
    """
    inside = _distances(real_MF, drawn_NF) <= _reach(drawn_NF)
    return float(inside.any(axis=1).mean())


def coverage(drawn_NF: NDArray[np.float64], real_MF: NDArray[np.float64]) -> float:
    """Share of real images with a drawn one in their reach (0-1).

    The reach is the distance to the fifth nearest real image (Naeem et al., 2002.09797).
    """
    nearest = _distances(real_MF, drawn_NF).min(axis=1)
    return float((nearest <= _reach(real_MF)).mean())


def _reach(points_NF: NDArray[np.float64]) -> NDArray[np.float64]:
    own = np.sort(_distances(points_NF, points_NF), axis=1)
    reach: NDArray[np.float64] = own[:, min(NEIGHBOURS, len(points_NF) - 1)]
    return reach


def _distances(a_NF: NDArray[np.float64], b_MF: NDArray[np.float64]) -> NDArray[np.float64]:
    squared = (a_NF**2).sum(1)[:, None] + (b_MF**2).sum(1)[None] - 2 * a_NF @ b_MF.T
    root: NDArray[np.float64] = np.sqrt(squared.clip(0))
    return root


class Coverage(Metric):
    """Recall and coverage of held-out images, relative to what training images reach.

    Needs 256 images for a small loss; from 64 a collapse shows.
    """

    name = "coverage"
    title = "Coverage"
    unit = "share of held-out images, over that of as many training images"
    direction = "higher"
    meaning = (
        "Share of held-out images with a drawn one near by, over what as many training images "
        "reach. A model that draws a few pictures over and over has little."
    )
    needs = frozenset({"references", "reals"})
    section = DISTRIBUTION
    level = Level(1.0, "as training images")

    def prepare(self, subject: Subject) -> None:
        """Keep the real images' features."""
        self._drawn: dict[float, list[NDArray[np.float64]]] = {}
        self._reals = subject.reals

    def see(self, drawn: Drawn) -> None:
        """Keep the features."""
        if self._reals is not None:
            self._drawn.setdefault(drawn.cfg_scale, []).extend(drawn.features.spread_NF)

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """Recall and coverage over those of equally many training images."""
        found = self._drawn.get(values.cfg_scale, [])
        if self._reals is None or len(found) < _MIN_IMAGES:
            return {}
        real = self._reals.held_out.features.spread_NF
        control = self._reals.training.first(len(found)).features.spread_NF
        mean, scale = real.mean(axis=0), real.std(axis=0) + 1e-6
        parts = [(part - mean) / scale for part in (np.stack(found), control, real)]
        drawn_NF, control_NF, real_MF = parts
        return {
            "recall": _ratio(recall(drawn_NF, real_MF), recall(control_NF, real_MF)),
            self.name: _ratio(coverage(drawn_NF, real_MF), coverage(control_NF, real_MF)),
        }

    def columns(self) -> dict[str, str]:
        """Both numbers."""
        return {"recall": "Recall of real images", self.name: self.title}


def _ratio(value: float, control: float) -> float:
    return value / control if control > 0 else float("nan")
