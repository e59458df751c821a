"""How different the seeds of one prompt look: guidance trades this away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import PromptMean

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nadir.evaluation.values import Drawn

CELLS = 8


def low_pass(images_NCHW: NDArray[np.float32]) -> NDArray[np.float64]:
    """Mean colour of the cells of an 8 x 8 grid [N, 3, 8, 8]: composition without texture."""
    rows = np.array_split(np.arange(images_NCHW.shape[2]), CELLS)
    columns = np.array_split(np.arange(images_NCHW.shape[3]), CELLS)
    bands = np.stack([images_NCHW[:, :, r].mean(axis=2, dtype=np.float64) for r in rows], axis=2)
    cells: NDArray[np.float64] = np.stack([bands[..., c].mean(axis=3) for c in columns], axis=3)
    return cells


def seed_distance(cells_NCHW: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean RMS distance of each seed's image to the other seeds' [N] (0-1); NaN for one seed.

    Args:
        cells_NCHW: `low_pass` of the images of one prompt at one scale, one per seed.
    """
    count = len(cells_NCHW)
    if count < 2:
        return np.full(count, np.nan)
    flat = cells_NCHW.reshape(count, -1)
    gaps = np.sqrt(((flat[:, None] - flat[None]) ** 2).mean(axis=2))
    mean: NDArray[np.float64] = gaps.sum(axis=1) / (count - 1)
    return mean


class Diversity(PromptMean):
    """How different the seeds of one prompt look; those of a brightness probe should be alike."""

    name = "diversity"
    title = "Diversity"
    unit = "distance of mean colours, 0 to 1"
    direction = "higher"
    meaning = (
        "How different the seeds of one prompt look. Strong guidance tends to lower it; compare "
        "checkpoints at one scale."
    )
    needs = frozenset({"seeds"})

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """Distance of each seed's image to those of the others."""
        if drawn.prompt.target is not None:
            return None
        return seed_distance(low_pass(drawn.images_NCHW))
