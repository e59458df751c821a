"""FID, which few pictures make larger than it is: refused under 2,000."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metrics.networks.base import FeatureSets
from nadir.evaluation.networks.pictures import resized
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.metrics.networks.base import Look
    from nadir.evaluation.subject import Subject

FEWEST = 2_000
FEATURES = 2_048
_SIDE = 299


def fid(drawn_NF: NDArray[np.float64], real_MF: NDArray[np.float64]) -> float:
    """Fréchet distance of the normal distributions of two sets (Heusel et al., 1706.08500).

    Raises:
        NadirError: A set has under 2,000 images.
    """
    few = min(len(drawn_NF), len(real_MF))
    if few < FEWEST:
        raise NadirError(
            f"FID of {few:,} images says more about their number than about them",
            fix=f"draw {FEWEST:,} or more, or read KID and CMMD",
        )
    gap = drawn_NF.mean(axis=0) - real_MF.mean(axis=0)
    one, other = (np.cov(part, rowvar=False) for part in (drawn_NF, real_MF))
    # The trace of the root of the product is that of a symmetric matrix with its eigenvalues.
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    mixed = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    return float(gap @ gap + np.trace(one) + np.trace(other) - 2 * mixed)


class Fid(FeatureSets):
    """FID of held-out images."""

    name = "fid"
    title = "FID"
    unit = f"squared distance of Inception features; bicubic antialiased resize to {_SIDE} px"
    meaning = (
        "Distance between drawn and held-out images in features of a network for photographs. "
        "Lower is closer; biased upwards, under 5,000 images strongly. Compare equal numbers only."
    )
    network = "inception"
    fewest = FEWEST
    distance = staticmethod(fid)

    def looks(self, subject: Subject) -> Look | None:
        """Inception's 2,048 features of pictures in -1 to 1."""
        network = subject.networks.inception
        if network is None:
            return None
        side = network.picture_side("NCHW", usual=_SIDE)

        def look(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
            pixels = 2 * resized(images_NCHW, side).numpy() - 1
            return network(pixels, wide=FEATURES).astype(np.float64)

        return look
