"""What all metrics of given networks share: when they run, and sets of their features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from nadir.evaluation.metric import Metric
from nadir.evaluation.networks.files import where_of
from nadir.evaluation.report.sections import DISTRIBUTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.metric import Need
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn, ScaleValues
    from nadir.evaluation.verdict.comparison import Direction


Look = Callable[["NDArray[np.float32]"], "NDArray[np.float64]"]
"""From images [N, 3, H, W] in 0-1 to features."""


def not_given(subject: Subject, key: str) -> str | None:
    """Why a metric does not run where its network is not named; None where it is."""
    if getattr(subject.params.networks, key) is not None:
        return None
    return f"its weights are not given; set {where_of(key)} in params.yaml (docs/evaluation.md)"


class FeatureSets(Metric, ABC):
    """A number of all drawn images of a scale beside the held-out images, by a network's features.

    Both sets are seen through the checkpoint's VAE and in one resize. Held-out images are all of
    `evaluate.loss_images`, not only those behind prompts.
    """

    direction: ClassVar[Direction] = "lower"
    needs: ClassVar[frozenset[Need]] = frozenset({"references"})
    section = DISTRIBUTION
    network: ClassVar[str]
    fewest: ClassVar[int] = 16

    @staticmethod
    @abstractmethod
    def distance(drawn_NF: NDArray[np.float64], real_MF: NDArray[np.float64]) -> float:
        """The number of two sets of features."""

    @abstractmethod
    def looks(self, subject: Subject) -> Look | None:
        """Features [N, F] of images by the network, which is read; None where none is given."""

    def prepare(self, subject: Subject) -> None:
        """Read the network and look at the held-out images."""
        self._drawn: dict[float, list[NDArray[np.float64]]] = {}
        self._real: NDArray[np.float64] | None = None
        self._look = look = self.looks(subject)
        if look is None:
            return
        # An output of another form is found before anything is drawn.
        look(np.ones((1, 3, 8, 8), dtype=np.float32))
        if self.not_run(subject) is None and subject.holdout:
            seen = [look(subject.pixels(image)[None]) for image in subject.holdout]
            self._real = np.concatenate(seen)

    def not_run(self, subject: Subject) -> str | None:
        """Without weights, or with too few images."""
        few = min(drawn_beside_reals(subject), len(subject.holdout))
        if (absent := not_given(subject, self.network)) or few >= self.fewest or not few:
            return absent
        return (
            f"it needs {self.fewest:,} drawn images at a scale and as many held-out ones, and "
            f"there are {few:,}; raise evaluate.holdout_prompts and evaluate.loss_images"
        )

    def see(self, drawn: Drawn) -> None:
        """Keep the features; one image alone has no distance."""
        if self._real is not None and self._look is not None:
            kept = self._drawn.setdefault(drawn.cfg_scale, [])
            kept.append(self._look(drawn.images_NCHW))

    def of_scale(self, values: ScaleValues) -> dict[str, float]:
        """The number of all images of the scale."""
        found = self._drawn.get(values.cfg_scale)
        if self._real is None or not found:
            return {}
        drawn_NF = np.concatenate(found)
        if len(drawn_NF) < self.fewest:
            return {}
        return {self.name: self.distance(drawn_NF, self._real)}


def drawn_beside_reals(subject: Subject) -> int:
    """Images of held-out prompts at a scale."""
    return sum(len(prompt.seeds) for prompt in subject.plan.of_kind("holdout"))
