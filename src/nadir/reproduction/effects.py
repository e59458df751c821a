"""The effect that each trained claim is about, by seed: positive where the claim holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from nadir.reproduction.arms import (
    CFG_SCALES,
    DECODER,
    EPSILON,
    MAIN,
    NOISY,
    SAMPLER_STEPS,
    SAMPLERS,
    SCALAR,
    SCRATCH,
    START_SIGMAS,
    UNWEIGHTED,
    UPTRAINED,
    USUAL,
    V_STOCK,
    canvas_measure,
    sampler_measure,
    start_measure,
)

if TYPE_CHECKING:
    from nadir.reproduction.results import Results

_ENOUGH = 0.02
_AGREE = 0.05
_ERROR = "ladder_error"


def ladder(results: Results) -> list[float]:
    """Ladder error of epsilon on the stock schedule, less that of v with zero terminal SNR."""
    return results.differences((EPSILON, USUAL), (MAIN, USUAL), _ERROR)


def same_target(results: Results) -> list[float]:
    """Ladder error of v on the stock schedule, less that of v with zero terminal SNR."""
    return results.differences((V_STOCK, USUAL), (MAIN, USUAL), _ERROR)


def convergence(results: Results) -> list[float]:
    """Held-out x0 error of epsilon less that of v, both on the stock schedule."""
    return results.differences((EPSILON, USUAL), (V_STOCK, USUAL), "loss_mean")


def start(results: Results) -> list[float]:
    """Ladder error of the same weights drawn from sigma 14.6, less that from infinity."""
    low, infinite = start_measure(START_SIGMAS[-1]), start_measure(math.inf)
    return results.differences((MAIN, low), (MAIN, infinite), _ERROR)


def leak(results: Results) -> list[float]:
    """Mean leak on the stock schedule, less that with zero terminal SNR (absolute values)."""
    pairs = zip(
        results.number(V_STOCK, "mean_leak"), results.number(MAIN, "mean_leak"), strict=False
    )
    return [abs(stock) - abs(own) for stock, own in pairs]


def canvas_guess(results: Results) -> list[float]:
    """Slope of the first guess from noise with zero terminal SNR, less that without."""
    return results.differences((MAIN, USUAL), (V_STOCK, USUAL), "terminal_canvas")


def enough_sigma(results: Results) -> list[float]:
    """What the ladder error from sigma 136 is within 0.02 of that from infinity."""
    found = results.differences(
        (MAIN, start_measure(136.0)), (MAIN, start_measure(math.inf)), _ERROR
    )
    return [_ENOUGH - abs(value) for value in found]


def samplers_agree(results: Results) -> list[float]:
    """What the spread of the ladder error over samplers and steps is within 0.05, one CFG."""
    names = [sampler_measure(name, steps) for name in SAMPLERS for steps in SAMPLER_STEPS]
    every = [results.number(MAIN, _ERROR, name) for name in names]
    return [_AGREE - (max(seed) - min(seed)) for seed in zip(*every, strict=False)]


def larger_canvas(results: Results) -> list[float]:
    """Ladder error on twice the side from sigma 14.6, less that from twice the sigma."""
    low, high = (canvas_measure(2, sigma) for sigma in (14.6, 29.2))
    return results.differences((MAIN, low), (MAIN, high), _ERROR)


def literal_weight(results: Results) -> list[float]:
    """Ladder error of min(SNR, 5)/(SNR + 1) to the letter, less that of the default weight."""
    return results.differences(("weight_min_snr", USUAL), (MAIN, USUAL), _ERROR)


def uptraining(results: Results) -> list[float]:
    """Ladder error after few steps from scratch, less that after as many from epsilon."""
    return results.differences((SCRATCH, USUAL), (UPTRAINED, USUAL), _ERROR)


def rare_tags(results: Results) -> list[float]:
    """Recall of the four rarest colours with tag weighting, less that without."""
    return results.differences((MAIN, USUAL), (UNWEIGHTED, USUAL), "tag_recall")


def clean_tags(results: Results) -> list[float]:
    """Best CFG scale with three tags of ten wrong, less that with clean tags."""
    pairs = zip(best_scales(results, NOISY), best_scales(results, MAIN), strict=False)
    return [noisy - clean for noisy, clean in pairs]


def best_scales(results: Results, arm: str) -> list[float]:
    """By seed, the CFG scale with the lowest brightness error."""
    every = [results.number(arm, f"brightness_error@{scale:g}", "cfg") for scale in CFG_SCALES]
    return [CFG_SCALES[seed.index(min(seed))] for seed in zip(*every, strict=False)]


def channel_scaling(results: Results) -> list[float]:
    """Held-out x0 error with one factor for all channels, less that with their own statistics."""
    return results.differences((SCALAR, USUAL), (MAIN, USUAL), "loss_mean")


def decoder_grid(results: Results) -> list[float]:
    """How much nearer blockiness comes to the pictures' own by fine-tuning the decoder."""
    return _differences(results, "grid_before", "grid_after")


def decoder_control(results: Results) -> list[float]:
    """The same beside as many further steps of JPEG, which start from the same weights."""
    return _differences(results, "grid_jpeg", "grid_after")


def _differences(results: Results, first: str, second: str) -> list[float]:
    """Of two numbers of the decoder's arm, by seed."""
    pairs = [results.number(DECODER, name, DECODER) for name in (first, second)]
    return [one - other for one, other in zip(*pairs, strict=True)]
