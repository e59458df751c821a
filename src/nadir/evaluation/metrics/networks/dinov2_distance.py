"""KID on DINOv2's features, which follow people's eyes more closely than Inception's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nadir.evaluation.metrics.networks.base import FeatureSets
from nadir.evaluation.metrics.sets.distances import kid
from nadir.evaluation.networks.pictures import DINOV2_SIDE

if TYPE_CHECKING:
    from nadir.evaluation.metrics.networks.base import Look
    from nadir.evaluation.subject import Subject


class Dinov2Distance(FeatureSets):
    """KID of held-out images on the class token (Stein et al., 2306.04675, for the features)."""

    name = "kid_dinov2"
    title = "KID, DINOv2"
    unit = f"squared distance; bicubic antialiased resize to {DINOV2_SIDE} px; unbiased"
    meaning = (
        "Distance between drawn and held-out images in DINOv2's features. Lower is closer; it "
        "compares checkpoints of one protocol, and values below 0 are chance."
    )
    network = "dinov2"
    distance = staticmethod(kid)

    def looks(self, subject: Subject) -> Look | None:
        """Class tokens."""
        return subject.networks.dinov2.pictures if subject.networks.dinov2 else None
