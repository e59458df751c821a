"""What chance alone makes of a checkpoint: itself against itself, with other seeds.

The same seeds would give exactly nothing, so the seeds that were drawn are parted in two. A
difference of half as many seeds scatters more, which is taken out again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.evaluation.verdict.comparison import gain_of
from nadir.evaluation.verdict.intervals import RESAMPLES

if TYPE_CHECKING:
    import pandas as pd

    from nadir.evaluation.verdict.comparison import Criterion


def noise_floor(
    rows: pd.DataFrame, criterion: Criterion, *, resamples: int = RESAMPLES
) -> float | None:
    """Half width of the 95 % interval of a checkpoint's own difference; None with one seed each.

    Comparisons share their noise and scatter less, so it is an upper bound of what is only noise.

    Args:
        rows: prompt_id, seed, value of one metric of the champion.
        criterion: How the metric is compared.
        resamples: Of its interval.
    """
    order = rows.sort_values(["prompt_id", "seed"])
    turn = order.groupby("prompt_id").cumcount()
    sizes = order.groupby("prompt_id")["seed"].transform("size")
    parted = order[(sizes > 1) & (turn < sizes - sizes % 2)]
    if parted.empty:
        return None
    turn = turn[parted.index]
    pair, side = turn // 2, turn % 2
    halves = [parted[side == one].assign(seed=pair) for one in (0, 1)]
    gain = gain_of(halves[0], halves[1], criterion, resamples=resamples)
    if gain is None or not math.isfinite(gain.half_width):
        return None
    prompts = order["prompt_id"].nunique()
    drawn = parted.groupby("prompt_id").size().mean() / 2
    usual = float(sizes.groupby(order["prompt_id"]).first().median())
    fewer = parted["prompt_id"].nunique() / prompts
    return gain.half_width * math.sqrt(drawn / usual) * math.sqrt(fewer)
