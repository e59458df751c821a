"""Drawn pictures beside the real ones they are nearest to: trained on, and never seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup
from PIL import Image

from nadir.evaluation.results import scale_key
from nadir.ground.pages.page import number, picture_figure, thumbnail_uri

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nadir.evaluation.evaluator import Evaluation
    from nadir.evaluation.reals.pictures import PictureSet, RealPictures

SHOWN = 12
PICTURE_PX = 192
_KINDS = ("training", "held-out")


@dataclass(frozen=True)
class Neighbours:
    """A drawn picture and the real images it is nearest to.

    Attributes:
        ratio: Distance to the training image over that to the held-out one.
        prompt_id: Of the picture.
        seed: Of the picture.
        distances: To the training image and to the held-out one (0-1).
        places: Of both among those that were looked at.
    """

    ratio: float
    prompt_id: str
    seed: int
    distances: tuple[float, float]
    places: tuple[int, int]

    def ids(self, reals: RealPictures) -> tuple[str, str]:
        """sha256 of the training image and of the held-out one."""
        copied, unseen = self.places
        return reals.training.ids[copied], reals.held_out.ids[unseen]


def nearest_first(found: Sequence[Neighbours]) -> list[Neighbours]:
    """Those that the report shows: nearest to training images, by the ratio."""
    return sorted(found, key=lambda one: (one.ratio, one.prompt_id, one.seed))[:SHOWN]


def neighbour_table(
    shown: Sequence[Neighbours],
    evaluation: Evaluation,
    reals: RealPictures,
    pictures: Mapping[str, Image.Image],
    *,
    cfg_scale: float,
    limit: float,
) -> Markup:
    """A row for each picture.

    Args:
        shown: Pictures of the deciding scale.
        evaluation: Holds the pictures.
        reals: The real images.
        pictures: Some of them by sha256 as the VAE renders them; of others the cells are shown.
        cfg_scale: The scale of the pictures.
        limit: Below it a picture counts as a copy.
    """
    rows = Markup("").join(
        _row(one, evaluation, reals, pictures, cfg_scale, limit) for one in shown
    )
    return Markup(
        '<figure class="chart levels wide pixels"><div class="chart-title">Nearest to training '
        'images, CFG {}</div><div class="scroll"><table><thead><tr><th>Drawn</th><th>Nearest '
        'training image</th><th>Nearest held-out image</th><th class="n">Ratio</th>'
        "<th>Counts as</th></tr></thead><tbody>{}</tbody></table></div><figcaption>Under each real "
        "image the distance to it, in {} x {} cells, and the beginning of its sha256 in "
        "<code>data/manifest.parquet</code>. A copy is much nearer to an image it was trained on "
        "than to any that training never saw: below a ratio of {} a picture counts as one."
        "</figcaption></figure>"
    ).format(scale_key(cfg_scale), rows, *reals.training.thumbs_N3SS.shape[2:], number(limit))


def _row(
    one: Neighbours,
    evaluation: Evaluation,
    reals: RealPictures,
    pictures: Mapping[str, Image.Image],
    cfg_scale: float,
    limit: float,
) -> Markup:
    drawn = evaluation.pictures[cfg_scale, one.prompt_id, one.seed]
    sets = (reals.training, reals.held_out)
    cells = Markup("").join(
        _real(kind, part, place, distance, pictures)
        for kind, part, place, distance in zip(_KINDS, sets, one.places, one.distances, strict=True)
    )
    return Markup('<tr><td>{}</td>{}<td class="n">{}</td><td>{}</td></tr>').format(
        picture_figure(thumbnail_uri(drawn, PICTURE_PX), f"{one.prompt_id}, seed {one.seed}"),
        cells,
        number(one.ratio),
        "a copy" if one.ratio < limit else "not a copy",
    )


def _real(
    kind: str,
    part: PictureSet,
    place: int,
    distance: float,
    pictures: Mapping[str, Image.Image],
) -> Markup:
    name = part.ids[place]
    shown = pictures.get(name)
    if shown is None:
        cells_HWC = (255 * part.thumbs_N3SS[place].clip(0, 1)).transpose(1, 2, 0)
        shown = Image.fromarray(np.rint(cells_HWC).astype(np.uint8))
    return Markup("<td>{}</td>").format(
        picture_figure(
            thumbnail_uri(shown, PICTURE_PX),
            f"{kind} image {name[:12]}",
            f"{number(distance)} to {name[:12]}",
        )
    )
