"""Pictures of the tag statistics: use by rank, and the weights that follow from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nadir.ground.pages.drawing import SERIES, chart_style, log_axis, save_chart

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import pyarrow as pa
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_RARITIES = ("head", "mid", "tail")
_POINTS = 500
_BINS = 60


def draw_use(tags: pa.Table, path: Path) -> None:
    """Images that carry a tag over the tag's rank, both axes logarithmic, for each class.

    Args:
        tags: A `TAGS` table.
        path: A PNG file; equal tables give equal bytes.
    """
    counts, classes = (tags[name].to_numpy(zero_copy_only=False) for name in ("count", "class"))

    def draw(axes: Axes) -> None:
        for name in sorted(set(classes)):
            of_class = counts[classes == name]
            ranks = _spread(len(of_class))
            axes.plot(ranks, of_class[ranks - 1], label=f"{name} ({len(of_class):,} tags)")
        log_axis(axes, "x")
        log_axis(axes, "y")
        axes.set(xlabel="rank in its class", ylabel="training images with the tag")

    _save([draw], "Tag use by rank", path)


def draw_weights(tags: pa.Table, weights: Floats, path: Path) -> None:
    """Weights of tags over their count, and beside it how the images' weights spread.

    Args:
        tags: A `TAGS` table.
        weights: Loss weight of each training image.
        path: A PNG file; equal input gives equal bytes.
    """
    weighted = tags.filter(tags["weighted"])
    counts, weight, rarity = (
        weighted[name].to_numpy(zero_copy_only=False) for name in ("count", "weight", "rarity")
    )

    def draw_tags(axes: Axes) -> None:
        for name in _RARITIES:
            chosen = np.flatnonzero(rarity == name)
            chosen = chosen[_spread(len(chosen)) - 1] if len(chosen) else chosen
            axes.plot(counts[chosen], weight[chosen], "o", markersize=4, label=name)
        log_axis(axes, "x")
        log_axis(axes, "y")
        axes.set(xlabel="training images with the tag", ylabel="weight of the tag")

    def draw_images(axes: Axes) -> None:
        axes.hist(
            weights,
            bins=_BINS,
            rwidth=0.92,
            color=SERIES[0],
            label=f"{len(weights):,} images, mean 1",
        )
        axes.set(xlabel="loss weight of an image", ylabel="images")

    _save([draw_tags, draw_images], "Weights of tags and images", path)


def _spread(count: int) -> NDArray[np.int64]:
    """Ranks from 1 to `count`, even on a log axis."""
    if not count:
        return np.zeros(0, np.int64)
    return np.unique(np.geomspace(1, count, _POINTS).round().astype(np.int64))


def _save(parts: Sequence[Callable[[Axes], None]], title: str, path: Path) -> None:
    with chart_style():
        # Not above: it takes a second to load, and only this stage draws.
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7 * len(parts), 4.5), layout="constrained")
        figure.suptitle(title, fontweight="bold")
        for axes, part in zip(np.atleast_1d(figure.subplots(1, len(parts))), parts, strict=True):
            part(axes)
            if axes.get_legend_handles_labels()[0]:
                axes.legend()
        save_chart(figure, path)
