"""A tagger of the WD family: an ONNX file and the table of its outputs."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np

from nadir.data.tag_text import read_tag
from nadir.evaluation.networks.files import where_of
from nadir.evaluation.networks.pictures import squared
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from nadir.evaluation.networks.onnx_file import OnnxFile

USUAL_SIDE = 448
_RATING = "9"


class Tagger:
    """Looks for tags in pictures.

    WD taggers take BGR in 0 to 255, channels last, padded to a square on white, and give a score
    of 0 to 1 for each row of their table (rows of the category 9 are ratings, not tags).

    Args:
        network: The ONNX file.
        table: `selected_tags.csv`.
        threshold: Score above which a tag counts as seen.

    Attributes:
        column: Output of each tag, in booru form.

    Raises:
        NadirError: The table or the file is not of this form.
    """

    def __init__(self, network: OnnxFile, table: Path, *, threshold: float) -> None:
        self._network, self._threshold = network, threshold
        self._side = network.picture_side("NHWC", usual=USUAL_SIDE)
        self.column, self._outputs = _columns(table)
        white = np.ones((1, 3, self._side, self._side), dtype=np.float32)
        self.scores(white)

    def scores(self, images_NCHW: NDArray[np.float32]) -> NDArray[np.float32]:
        """Score of each row of the table [N, outputs] (0-1) for RGB pictures in 0-1."""
        pixels = squared(images_NCHW, self._side, fill=1.0).numpy()
        bgr_NHWC = 255 * pixels[:, ::-1].transpose(0, 2, 3, 1)
        found: NDArray[np.float32] = self._network(bgr_NHWC, wide=self._outputs)
        return found

    def seen(self, images_NCHW: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Whether each row of the table is seen [N, outputs]."""
        return self.scores(images_NCHW) > self._threshold


def _columns(table: Path) -> tuple[dict[str, int], int]:
    """Output of each tag, and how many outputs there are."""
    try:
        with table.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        named = [(str.strip(row["name"]), str.strip(row["category"])) for row in rows]
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise NadirError(
            f"{table} is not a table with the columns name and category",
            where=where_of("tagger"),
            fix="name the `selected_tags.csv` beside the model",
        ) from error
    columns: dict[str, int] = {}
    for place, (name, category) in enumerate(named):
        if category != _RATING:
            columns.setdefault(read_tag(name) or name, place)
    return columns, len(rows)
