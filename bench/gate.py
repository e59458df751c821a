"""How often intervals cover, and how often the gate errs, on imagined pairs of models.

    python bench/gate.py [--repetitions 2000]

Prints the tables of docs/evaluation.md.
"""

from __future__ import annotations

import argparse
import math

import numpy as np
import pandas as pd

from nadir.config.gate import GateParams
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.verdict.intervals import bootstrap_mean
from nadir.evaluation.verdict.judgement import judge

SHAPES = ("normal", "skewed", "heavy tails")
COUNTS = (8, 16, 32, 64)
GATE = {"primary": {"metric": "loss", "margin": 0.0}, "guards": {}, "cfg_scale": 4.5}
CHANGES = (0.0, -0.005, -0.01, 0.01, 0.05)  # of a loss of 0.3


def draw(rng: np.random.Generator, shape: str, count: int) -> np.ndarray:
    """Values whose population has the mean 1."""
    if shape == "normal":
        return rng.normal(1, 1, count)
    if shape == "skewed":
        return rng.lognormal(-0.125, 0.5, count)
    return 1 + rng.standard_t(4, count)


def coverage(repetitions: int) -> None:
    """Share of 95 % intervals that hold the mean: percentiles of means beside ours."""
    print("| values | shape | percentile bootstrap | ours |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    for count in COUNTS:
        for shape in SHAPES:
            hits = np.zeros(2)
            for _ in range(repetitions):
                values = draw(rng, shape, count)
                rows = rng.integers(0, count, (499, count))
                low, high = np.quantile(values[rows].mean(axis=1), [0.025, 0.975])
                ours = bootstrap_mean(values, resamples=499)
                hits += [low <= 1 <= high, ours.low <= 1 <= ours.high]
            old, new = 100 * hits / repetitions
            print(f"| {count} | {shape} | {old:.1f} % | {new:.1f} % |")


def table(rng: np.random.Generator, difficulty: np.ndarray, change: float) -> pd.DataFrame:
    """Held-out losses of a model; images differ much more than noise does."""
    values = (0.3 + change) * difficulty + rng.normal(0, 0.01, len(difficulty))
    names = [f"image_{i}" for i in range(len(values))]
    return pd.DataFrame(
        {
            "protocol_id": "p",
            "cfg_scale": math.nan,
            "prompt_id": names,
            "seed": 0,
            "metric": "loss",
            "value": values,
        }
    )


def verdicts(repetitions: int) -> None:
    """What becomes of challengers whose true change is known."""
    print("| true change of the loss | promote | inconclusive | reject |\n|---|---|---|---|")
    params = GateParams.model_validate(GATE)
    for change in CHANGES:
        rng, found = np.random.default_rng(1), []
        for _ in range(repetitions):
            difficulty = rng.uniform(0.5, 1.5, 64)
            pair = [table(rng, difficulty, one) for one in (0.0, change)]
            found.append(judge(*pair, params, METRICS, resamples=499).verdict)
        cells = [found.count(name) / len(found) for name in ("promote", "inconclusive", "reject")]
        print(f"| {change:+g} | " + " | ".join(f"{100 * cell:.1f} %" for cell in cells) + " |")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    repetitions = parser.parse_args().repetitions
    coverage(repetitions)
    print()
    verdicts(max(repetitions // 10, 200))


if __name__ == "__main__":
    main()
