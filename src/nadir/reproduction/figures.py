"""One small figure a main claim, to be understood in five seconds."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING, Any

from nadir.ground.files import atomic_path
from nadir.reproduction import effects
from nadir.reproduction.arms import (
    ARMS,
    CANVAS_SIGMAS,
    CFG_SCALES,
    DECODER,
    EPSILON,
    MAIN,
    MIN_SNR_FORMS,
    NOISY,
    SAMPLER_STEPS,
    SAMPLERS,
    SCALAR,
    SCRATCH,
    START_SIGMAS,
    UNWEIGHTED,
    UPTRAINED,
    V_STOCK,
    canvas_measure,
    sampler_measure,
    start_measure,
)
from nadir.reproduction.dataset import LEVELS
from nadir.reproduction.results import MissingResultError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from nadir.reproduction.results import Results

_BLUE, _ORANGE, _GREY = "#1764ab", "#d9632a", "#8a8a8a"  # told apart by the colour-blind too
_ERROR = "ladder error (0: as asked)"
_SIZE = (5.2, 2.9)


def draw(name: str, results: Results, path: Path, computed: Sequence[float]) -> bool:
    """Draw one figure.

    Args:
        name: `Claim.figure`.
        results: What was measured.
        path: PNG to write.
        computed: Values of the claim, for those that need no training.

    Returns:
        Whether there was enough to draw.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=_SIZE, layout="constrained")
    try:
        _FIGURES[name](axes, results, computed)
    except MissingResultError:
        return False
    else:
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=120, format="png", metadata={"Software": None})
        return True
    finally:
        plt.close(figure)


def _ladder(axes: Any, results: Results, _: Sequence[float]) -> None:
    asked = sorted(LEVELS.items(), key=lambda pair: pair[1])
    x = [target for _, target in asked]
    for arm, colour in ((MAIN, _BLUE), (V_STOCK, _GREY), (EPSILON, _ORANGE)):
        try:
            seeds = results.levels(arm)
        except MissingResultError:
            if arm == V_STOCK:
                continue
            raise
        y = [[levels[name] for name, _ in asked] for levels in seeds]
        _line(axes, x, y, ARMS[arm].title, colour)
    axes.plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="asked luminance", ylabel="drawn luminance", ylim=(0, 1))
    axes.set_title("Does the drawn brightness follow the prompt?")
    axes.legend(frameon=False, fontsize=8)


def _start(axes: Any, results: Results, _: Sequence[float]) -> None:
    x = range(len(START_SIGMAS))
    names = [start_measure(sigma) for sigma in START_SIGMAS]
    y = list(zip(*(results.number(MAIN, "ladder_error", name) for name in names), strict=False))
    _line(axes, list(x), y, "", _BLUE)
    axes.set_xticks(list(x), [_sigma(sigma) for sigma in START_SIGMAS])
    axes.set(xlabel="first sigma at drawing, same weights", ylabel=_ERROR, ylim=(0, None))
    axes.set_title("How low may drawing begin?")


def _min_snr(axes: Any, results: Results, _: Sequence[float]) -> None:
    names = {"min(SNR+1, 5)/(SNR+1)": MAIN} | {
        _WEIGHTS[form]: f"weight_{form}" for form in MIN_SNR_FORMS
    }
    _bars(axes, results, names, "ladder_error")
    axes.set(xlabel=_ERROR)
    axes.set_title("Loss weights compared")


_WEIGHTS = {
    "none": "no weight",
    "min_snr": "min(SNR, 5)/(SNR+1)",
    "min_snr_snr0_one": "the same, 1 at SNR 0",
    "soft_min_snr": "soft min-SNR",
}


def _samplers(axes: Any, results: Results, _: Sequence[float]) -> None:
    labels = {f"{n}, {k} steps": sampler_measure(n, k) for n in SAMPLERS for k in SAMPLER_STEPS}
    values = {t: results.number(MAIN, "ladder_error", m) for t, m in labels.items()}
    _bars_of(axes, values)
    axes.set(xlabel=_ERROR)
    axes.set_title("One CFG scale: sampler and steps")


def _tag_weighting(axes: Any, results: Results, _: Sequence[float]) -> None:
    _bars(axes, results, {"weighted by tags": MAIN, "not weighted": UNWEIGHTED}, "tag_recall")
    axes.set(xlabel="recall of the four rarest colours (1: as in real pictures)")
    axes.set_title("Does tag weighting lift rare tags?")


def _buckets(axes: Any, _: Results, computed: Sequence[float]) -> None:
    if not computed:
        raise MissingResultError("buckets")
    axes.hist([100 * value for value in computed], bins=20, color=_BLUE)
    axes.set(xlabel="per cent of a picture that a bucket keeps beyond a square", ylabel="pictures")
    axes.set_title("What buckets keep and square crops lose")


def _bucket_cost(axes: Any, _: Results, computed: Sequence[float]) -> None:
    if not computed:
        raise MissingResultError("bucket_time")
    left = [1 - value for value in computed]
    _bars_of(axes, {"buckets": left, "padded to one square": [1.0]})
    axes.set(xlabel="CPU time of a step, relative")
    axes.set_title("What padding costs")


def _latents(axes: Any, results: Results, _: Sequence[float]) -> None:
    names = {"statistics by channel": MAIN, "one factor": SCALAR}
    _bars(axes, results, names, "loss_mean")
    axes.set(xlabel="held-out error of x0 (1: knows nothing)")
    axes.set_title("Latents by channel or by one factor")


def _uptraining(axes: Any, results: Results, _: Sequence[float]) -> None:
    names = {
        "uptrained, few steps": UPTRAINED,
        "scratch, as few steps": SCRATCH,
        "scratch, all steps": MAIN,
    }
    _bars(axes, results, names, "ladder_error")
    axes.set(xlabel=_ERROR)
    axes.set_title("Uptraining an epsilon model against scratch")


def _cfg(axes: Any, results: Results, _: Sequence[float]) -> None:
    for arm, title, colour in ((MAIN, "clean tags", _BLUE), (NOISY, "30 % wrong", _ORANGE)):
        every = [results.number(arm, f"brightness_error@{s:g}", "cfg") for s in CFG_SCALES]
        _line(axes, list(CFG_SCALES), list(zip(*every, strict=False)), title, colour)
    best = [statistics.mean(effects.best_scales(results, arm)) for arm in (MAIN, NOISY)]
    axes.set(xlabel="CFG scale", ylabel=_ERROR, ylim=(0, None))
    axes.set_title(f"Best scale: {best[0]:.1f} with clean tags, {best[1]:.1f} with wrong ones")
    axes.legend(frameon=False, fontsize=8)


def _canvas(axes: Any, results: Results, _: Sequence[float]) -> None:
    x = list(range(len(CANVAS_SIGMAS)))
    for factor, colour in ((1, _BLUE), (2, _ORANGE)):
        names = [canvas_measure(factor, sigma) for sigma in CANVAS_SIGMAS]
        every = [results.number(MAIN, "ladder_error", name) for name in names]
        title = "trained canvas" if factor == 1 else "twice as long"
        _line(axes, x, list(zip(*every, strict=False)), title, colour)
    axes.set_xticks(x, [_sigma(sigma) for sigma in CANVAS_SIGMAS])
    axes.set(xlabel="first sigma at drawing", ylabel=_ERROR, ylim=(0, None))
    axes.set_title("Does a larger canvas want a higher first sigma?")
    axes.legend(frameon=False, fontsize=8)


def _decoder(axes: Any, results: Results, _: Sequence[float]) -> None:
    labels = {
        "then clean pictures": "after",
        "learnt from JPEG": "before",
        "then more JPEG": "jpeg",
    }
    numbers = {
        title: results.number(DECODER, f"blockiness_{name}", DECODER)
        for title, name in labels.items()
    }
    _bars_of(axes, numbers)
    own = statistics.mean(results.number(DECODER, "blockiness_pictures", DECODER))
    axes.axvline(own, color="black", linewidth=0.8, linestyle=":")
    axes.set(xlabel="blockiness (1: none; dotted: of the originals)", xlim=(1, None))
    axes.set_title("What the decoder draws of JPEG's grid")


def _sigma(sigma: float) -> str:
    return "∞" if math.isinf(sigma) else f"{sigma:g}"


def _line(
    axes: Any, x: Sequence[float], seeds: Sequence[Sequence[float]], title: str, colour: str
) -> None:
    """The mean over seeds with a band from the lowest to the highest."""
    columns = list(zip(*seeds, strict=True))
    means = [statistics.mean(column) for column in columns]
    axes.plot(x, means, color=colour, marker="o", markersize=4, label=title or None)
    low, high = ([pick(column) for column in columns] for pick in (min, max))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def _bars(axes: Any, results: Results, arms: dict[str, str], metric: str) -> None:
    """A bar an arm; arms without numbers are left out unless all are."""
    values: dict[str, list[float]] = {}
    for title, arm in arms.items():
        try:
            values[title] = results.number(arm, metric)
        except MissingResultError:
            continue
    if len(values) < 2:
        raise MissingResultError(metric)
    _bars_of(axes, values)


def _bars_of(axes: Any, values: dict[str, list[float]]) -> None:
    """Horizontal bars of means, every seed as a dot."""
    places = range(len(values))
    means = [statistics.mean(seeds) for seeds in values.values()]
    axes.barh(list(places), means, color=[_BLUE, *[_GREY] * (len(values) - 1)], height=0.6)
    for place, seeds in zip(places, values.values(), strict=True):
        axes.plot(seeds, [place] * len(seeds), "o", color="black", markersize=3)
    axes.set_yticks(list(places), list(values))
    axes.set_ylim(len(values) - 0.4, -0.6)


_FIGURES: dict[str, Callable[[Any, Results, Sequence[float]], None]] = {
    "ladder": _ladder,
    "start": _start,
    "min_snr": _min_snr,
    "samplers": _samplers,
    "tag_weighting": _tag_weighting,
    "buckets": _buckets,
    "bucket_cost": _bucket_cost,
    "latents": _latents,
    "uptraining": _uptraining,
    "cfg": _cfg,
    "canvas": _canvas,
    "decoder": _decoder,
}
