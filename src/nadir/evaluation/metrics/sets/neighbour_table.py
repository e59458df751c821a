"""The drawn pictures that are nearest to training images, each beside the one it is nearest to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from PIL import Image

from nadir.evaluation.results import scale_key
from nadir.ground.pages.page import number, thumbnail_uri

if TYPE_CHECKING:
    from collections.abc import Sequence

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.reals.pictures import PictureSet

SHOWN = 12
_PICTURE_PX = 128


@dataclass(frozen=True)
class Neighbour:
    """A drawn picture and the training image it is nearest to.

    Attributes:
        ratio: Distance to it over that to the nearest held-out image.
        prompt_id: Of the picture.
        seed: Of the picture.
        place: Of the training image among those that were looked at.
    """

    ratio: float
    prompt_id: str
    seed: int
    place: int


def neighbour_table(
    found: Sequence[Neighbour],
    evaluation: Evaluation,
    training: PictureSet,
    cfg_scale: float,
    *,
    limit: float,
) -> Markup:
    """The nearest pairs first.

    Args:
        found: Every picture of the deciding scale.
        evaluation: Holds the pictures.
        training: The training images.
        cfg_scale: The scale of the pictures.
        limit: Below it a picture counts as a copy.
    """
    ranked = sorted(found, key=lambda one: (one.ratio, one.prompt_id, one.seed))[:SHOWN]
    rows = Markup("").join(_row(one, evaluation, training, cfg_scale, limit) for one in ranked)
    return Markup(
        '<figure class="chart levels wide"><div class="chart-title">Nearest to training images, '
        'CFG {}</div><div class="scroll"><table><thead><tr><th>Drawn</th><th>Nearest training '
        'image</th><th class="n">Ratio</th><th>Counts as</th></tr></thead><tbody>{}</tbody>'
        "</table></div><figcaption>Training images as the comparison sees them, in {} x {} cells, "
        "with the beginning of their sha256 in <code>data/manifest.parquet</code>. The ratio is "
        "the distance to that image over the one to the nearest image that training never saw; "
        "below {} a picture counts as a copy.</figcaption></figure>"
    ).format(scale_key(cfg_scale), rows, *training.thumbs_N3SS.shape[2:], number(limit))


def _row(
    one: Neighbour,
    evaluation: Evaluation,
    training: PictureSet,
    cfg_scale: float,
    limit: float,
) -> Markup:
    drawn = thumbnail_uri(evaluation.pictures[cfg_scale, one.prompt_id, one.seed], _PICTURE_PX)
    cells_HWC = (255 * training.thumbs_N3SS[one.place].clip(0, 1)).transpose(1, 2, 0)
    real = thumbnail_uri(Image.fromarray(np.rint(cells_HWC).astype(np.uint8)), _PICTURE_PX)
    name = training.ids[one.place][:12]
    return Markup(
        '<tr><td><img class="tag" src="{}" alt="{}, seed {}" loading="lazy"></td>'
        '<td><img class="tag" src="{}" alt="training image {}" loading="lazy"><small>{}</small>'
        '</td><td class="n">{}</td><td>{}</td></tr>'
    ).format(
        drawn, one.prompt_id, one.seed, real, name, name, number(one.ratio),
        "a copy" if one.ratio < limit else "not a copy",
    )  # fmt: skip
