"""Distances between the drawn set and held-out images: KID and sliced Wasserstein.

Both are made of pinned random features (`reals.features`), so they are alarm bells and comparable
between checkpoints of one protocol, never between datasets. Neither sees rare tags go missing at
any size that is drawn here (`docs/evaluation.md`): that is the tag probe's part.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.report.sections import DISTRIBUTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues

_PROJECTIONS = 128
_SEED = 20240915
_MIN_IMAGES = 16


def kid(drawn_NF: NDArray[np.float64], real_MF: NDArray[np.float64]) -> float:
    """Squared MMD with the kernel (x·y/F + 1)³, unbiased, so about 0 for equal sets and below too.

    Binkowski et al., 1801.01401, equation 4 and §3; needs no subsets at these sizes.
    """
    own, real = _kernel(drawn_NF, drawn_NF), _kernel(real_MF, real_MF)
    count, others = len(drawn_NF), len(real_MF)
    within = (own.sum() - np.trace(own)) / (count * (count - 1))
    among = (real.sum() - np.trace(real)) / (others * (others - 1))
    return float(within + among - 2 * _kernel(drawn_NF, real_MF).mean())


def _kernel(a_NF: NDArray[np.float64], b_MF: NDArray[np.float64]) -> NDArray[np.float64]:
    product: NDArray[np.float64] = (a_NF @ b_MF.T / a_NF.shape[1] + 1) ** 3
    return product


def sliced_wasserstein(drawn_NF: NDArray[np.float64], real_MF: NDArray[np.float64]) -> float:
    """Root mean over fixed directions of the squared 2-Wasserstein distance along each.

    Sets of unequal size are compared by equally many quantiles.
    """
    chance = np.random.Generator(np.random.Philox(key=_SEED))
    directions = chance.standard_normal((drawn_NF.shape[1], _PROJECTIONS))
    directions /= np.sqrt((directions**2).sum(axis=0))
    places = (np.arange(min(len(drawn_NF), len(real_MF))) + 0.5) / min(len(drawn_NF), len(real_MF))
    one, other = (np.quantile(part @ directions, places, axis=0) for part in (drawn_NF, real_MF))
    return float(np.sqrt(((one - other) ** 2).mean()))


class FeatureDistance(Metric):
    """A distance between the drawn images of a scale and all held-out images."""

    direction = "lower"
    needs = frozenset({"references", "reals"})
    section = DISTRIBUTION

    @staticmethod
    def distance(drawn_NF: NDArray[np.float64], real_MF: NDArray[np.float64]) -> float:
        """The distance of two sets of features."""
        raise NotImplementedError

    def prepare(self, subject: Subject) -> None:
        """Bring features to the scale of held-out images; measure what training images have."""
        self._drawn: dict[float, list[NDArray[np.float64]]] = {}
        self._real: NDArray[np.float64] | None = None
        reals = subject.reals
        if reals is None:
            return
        real = reals.held_out.features.spread_NF
        self._mean, self._scale = real.mean(axis=0), real.std(axis=0) + 1e-6
        self._real = self._standard(real)
        control = self._standard(reals.training.first(len(real)).features.spread_NF)
        self._control = self.distance(control, self._real)

    def see(self, drawn: Drawn) -> None:
        """Keep the features; one image alone has no distance."""
        if self._real is not None:
            kept = self._drawn.setdefault(drawn.cfg_scale, [])
            kept.extend(self._standard(drawn.features.spread_NF))

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """The distance of all images of the scale, and that of training images beside it."""
        found = self._drawn.get(values.cfg_scale, [])
        if self._real is None or len(found) < _MIN_IMAGES:
            return {}
        return {
            self.name: self.distance(np.stack(found), self._real),
            f"{self.name}_of_training": self._control,
        }

    def columns(self) -> dict[str, str]:
        """The distance, and the control."""
        return {self.name: self.title, f"{self.name}_of_training": f"{self.title}: training images"}

    def _standard(self, spread_NF: NDArray[np.float64]) -> NDArray[np.float64]:
        scaled: NDArray[np.float64] = (spread_NF - self._mean) / self._scale
        return scaled


class KernelDistance(FeatureDistance):
    """KID on pinned features.

    64 images see oversaturation of a fifth (6.6 standard deviations), 256 a model pulled to grey
    or collapsed; blur is for the spectrum.
    """

    name = "kid_random_features"
    title = "KID, pinned features"
    unit = "squared distance; unbiased"
    meaning = (
        "Distance between drawn and held-out images in 128 fixed random features (areas averaged "
        "to 16 x 16). Lower is closer; the table has what training images have."
    )
    distance = staticmethod(kid)


class SlicedDistance(FeatureDistance):
    """Sliced Wasserstein distance on the same features; 256 images for most faults."""

    name = "sliced_wasserstein"
    title = "Sliced Wasserstein"
    unit = "standard deviations of real features"
    meaning = (
        "Mean distance between drawn and held-out images along 128 fixed directions of the same "
        "features. Lower is closer; few images raise it."
    )
    distance = staticmethod(sliced_wasserstein)
