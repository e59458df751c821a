"""Copies: is a drawn image nearer to one of the training than to any that training never saw."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.evaluation.metric import PromptMean
from nadir.evaluation.metrics.sets.neighbour_table import (
    PICTURE_PX,
    Neighbours,
    nearest_first,
    neighbour_table,
)
from nadir.evaluation.report.sections import DISTRIBUTION
from nadir.evaluation.values import CheckpointValue
from nadir.ground.pages.charts import Level

if TYPE_CHECKING:
    from collections.abc import Iterator

    from markupsafe import Markup
    from numpy.typing import NDArray
    from PIL.Image import Image

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.subject import Subject
    from nadir.evaluation.values import Drawn

RARE = 0.05
"""Share of held-out images that count as copies by chance: the control that is built in."""
_SHIFT = 1  # cells of 16, each way
_AT_ONCE = 32


def nearest(
    images_N3SS: NDArray[np.float32], others_M3SS: NDArray[np.float32], *, apart: bool = False
) -> NDArray[np.float64]:
    """Distance of each image to the nearest of others [N] (0-1); see `neighbours`."""
    return neighbours(images_N3SS, others_M3SS, apart=apart)[0]


def neighbours(
    images_N3SS: NDArray[np.float32], others_M3SS: NDArray[np.float32], *, apart: bool = False
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Distance of each image to the nearest of others after alignment [N] (0-1), and which it is.

    Root mean square over cells of thumbnails, at the best of mirroring and a shift by a cell each
    way; the middle cells are compared.

    Args:
        images_N3SS: Thumbnails.
        others_M3SS: Thumbnails to find them in.
        apart: Both are the same set, and no image is its own neighbour.
    """
    middle = others_M3SS[:, :, _SHIFT:-_SHIFT, _SHIFT:-_SHIFT].reshape(len(others_M3SS), -1)
    norms = (middle**2).sum(axis=1)
    best = np.full(len(images_N3SS), np.inf)
    places = np.zeros(len(images_N3SS), dtype=np.int64)
    for start in range(0, len(images_N3SS), _AT_ONCE):
        part = slice(start, start + _AT_ONCE)
        moved = np.stack(list(_alignments(images_N3SS[part])))
        # One product for all alignments: many small ones take twice as long.
        product = (moved.reshape(-1, moved.shape[2]) @ middle.T).reshape(*moved.shape[:2], -1)
        squared = (moved**2).sum(axis=2)[..., None] + norms - 2 * product
        if apart:
            rows = np.arange(moved.shape[1])
            squared[:, rows, rows + start] = np.inf
        aligned = squared.min(axis=0)
        best[part], places[part] = aligned.min(axis=1), aligned.argmin(axis=1)
    root: NDArray[np.float64] = np.sqrt(best.clip(0) / middle.shape[1])
    return root, places


def _alignments(images_N3SS: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    size = images_N3SS.shape[2] - 2 * _SHIFT
    for turned in (images_N3SS, images_N3SS[..., ::-1]):
        for down in range(2 * _SHIFT + 1):
            for right in range(2 * _SHIFT + 1):
                window = turned[:, :, down : down + size, right : right + size]
                yield window.reshape(len(window), -1)


class Memorisation(PromptMean):
    """Share of drawn images that are nearer to training than a held-out image almost ever is.

    The measure of an image is its distance to the nearest training image over that to the nearest
    held-out one; of held-out images, 5 % have less than the limit. 64 images see a model that
    copies a tenth of what it draws.
    """

    name = "memorisation"
    title = "Copies of training images"
    unit = "share of images, 0 to 1"
    direction = "lower"
    meaning = (
        "Share of drawn images that are nearer to a training image, against the nearest held-out "
        "one, than 95 % of real unseen images are. 0.05 is chance; above it the model copies."
    )
    needs = frozenset({"references", "reals"})
    section = DISTRIBUTION
    level = Level(RARE, "chance")

    def prepare(self, subject: Subject) -> None:
        """Measure held-out images themselves: what they have is chance."""
        self._reals = subject.reals
        self._decision_cfg = subject.params.decision_cfg
        self._found: list[Neighbours] = []
        self._pictures: dict[str, Image] = {}
        if self._reals is None:
            return
        held_out, training = self._reals.held_out.thumbs_N3SS, self._reals.training.thumbs_N3SS
        own = nearest(held_out, training) / (nearest(held_out, held_out, apart=True) + 1e-6)
        self._limit = float(np.quantile(own, RARE))

    def see(self, drawn: Drawn) -> NDArray[np.float64] | None:
        """1 for each image that counts as a copy, else 0."""
        if self._reals is None:
            return None
        to_training, copied = neighbours(drawn.thumbs, self._reals.training.thumbs_N3SS)
        to_held_out, unseen = neighbours(drawn.thumbs, self._reals.held_out.thumbs_N3SS)
        ratios = to_training / (to_held_out + 1e-6)
        if drawn.cfg_scale == self._decision_cfg:
            distances = [to_training.tolist(), to_held_out.tolist()]
            places = [copied.tolist(), unseen.tolist()]
            self._found += [
                Neighbours(ratio, drawn.prompt.id, seed, near, place)
                for ratio, seed, near, place in zip(
                    ratios.tolist(),
                    drawn.seeds,
                    zip(*distances, strict=True),
                    zip(*places, strict=True),
                    strict=True,
                )
            ]
        return (ratios < self._limit).astype(np.float64)

    def of_checkpoint(self, subject: Subject) -> CheckpointValue:
        """No number: it looks up the real images that the report shows."""
        from nadir.sampling.decode import to_image

        if self._reals is not None:
            shown = {name for one in nearest_first(self._found) for name in one.ids(self._reals)}
            for name, image_CHW in subject.real_pixels(shown):
                self._pictures[name] = to_image(image_CHW)
                self._pictures[name].thumbnail((PICTURE_PX, PICTURE_PX))
        return CheckpointValue()

    def charts(self, evaluation: Evaluation) -> list[Markup]:
        """The share over the scales, and the drawn images that are nearest to training images.

        Each stands beside the nearest training image and the nearest held-out one.
        """
        charts = super().charts(evaluation)
        if self._reals is None or not self._found:
            return charts
        table = neighbour_table(
            nearest_first(self._found),
            evaluation,
            self._reals,
            self._pictures,
            cfg_scale=self._decision_cfg,
            limit=self._limit,
        )
        return [*charts, table]
