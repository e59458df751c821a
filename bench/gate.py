"""How often intervals cover, and how often the gate errs, on imagined pairs of models.

    python bench/gate.py [--repetitions 2000] [--same-model TABLE TABLE]

Prints the tables of docs/promotion.md. `--same-model` takes two evaluation tables of one model that
differ in `evaluate.seeds` alone, and prints what the gate of params.yaml makes of the model beside
itself: its seeds are dealt out to two imagined models anew in each repetition.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
import pandas as pd

from nadir.config.gate import GateParams
from nadir.config.reader import read_section
from nadir.evaluation.metrics import METRICS
from nadir.evaluation.verdict.intervals import bootstrap_mean
from nadir.evaluation.verdict.judgement import EVERY, judge

SHAPES = ("normal", "skewed", "heavy tails")
COUNTS = (4, 8, 16, 32, 64)
PROMOTING = {"policy": "auto", "answer_within_h": 24, "smoke_pictures": 0}
GATE = {"primary": {"metric": "loss", "margin": 0.0}, "guards": {}, "cfg_scale": 4.5, **PROMOTING}
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


def dealt(tables: list[pd.DataFrame], rng: np.random.Generator) -> list[pd.DataFrame]:
    """Two imagined models with half of the seeds of both tables each, and losses with noise."""
    drawn = pd.concat([t[t["cfg_scale"].notna()] for t in tables], ignore_index=True)
    names = drawn[["prompt_id", "seed"]].drop_duplicates()
    names = names.assign(chance=rng.random(len(names))).sort_values(["prompt_id", "chance"])
    turn = names.groupby("prompt_id").cumcount()
    # One seed of a prompt is the same draw in all metrics and at all scales.
    names = names.assign(side=turn % 2, place=turn // 2).drop(columns="chance")
    drawn = drawn.merge(names, on=["prompt_id", "seed"]).drop(columns="seed")
    drawn = drawn.rename(columns={"place": "seed"})
    losses = tables[0][(tables[0]["metric"] == "loss") & (tables[0]["seed"] == 0)]
    twice = tables[0][tables[0]["metric"] == "loss"].groupby("prompt_id")["value"].std().dropna()
    noise = float(np.sqrt((twice**2).mean()))
    return [
        pd.concat(
            [
                drawn[drawn["side"] == side].drop(columns="side"),
                losses.assign(value=losses["value"] + rng.normal(0, noise, len(losses))),
            ]
        )
        for side in (0, 1)
    ]


def same_model(files: list[Path], repetitions: int) -> None:
    """Verdicts on a model beside itself, and what each guard says."""
    params = read_section("gate", GateParams, Path("params.yaml"))
    wanted = {params.primary.metric, *params.guards}
    tables = [pd.read_parquet(file) for file in files]
    parts = tuple(name.removesuffix("*") for name in wanted if name.endswith(EVERY))
    tables = [
        one[one["metric"].isin(wanted) | one["metric"].str.startswith(parts)] for one in tables
    ]
    tables = [one.assign(protocol_id="p") for one in tables]
    rng, verdicts, lines = np.random.default_rng(2), [], {}
    for _ in range(repetitions):
        found = judge(*dealt(tables, rng), params, METRICS, resamples=499)
        verdicts.append(found.verdict)
        for line in found.lines:
            gain = line.gain
            held = None if gain is None else gain.low <= 0 <= gain.high
            width = math.nan if gain is None else gain.half_width
            lines.setdefault(line.criterion, []).append((line.state, held, width))
    print("| same model | promote | inconclusive | reject |\n|---|---|---|---|")
    cells = [verdicts.count(name) / repetitions for name in ("promote", "inconclusive", "reject")]
    print("| other seeds | " + " | ".join(f"{100 * cell:.1f} %" for cell in cells) + " |\n")
    head = "| metric | margin | half width, median | interval holds 0 | pass | open | fail |"
    print(head + "\n|---|---|---|---|---|---|---|")
    for one, seen in lines.items():
        states = [state for state, _, _ in seen]
        shares = [states.count(name) / len(states) for name in ("pass", "unresolved", "fail")]
        held = np.mean([bool(inside) for _, inside, _ in seen])
        width = np.median([w for _, _, w in seen])
        cells = " | ".join(f"{100 * share:.1f} %" for share in (held, *shares))
        print(f"| `{one.metric}` | {one.margin:g} | {width:.4f} | {cells} |")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=2000)
    parser.add_argument("--same-model", type=Path, nargs=2, metavar="TABLE")
    arguments = parser.parse_args()
    repetitions = arguments.repetitions
    if arguments.same_model:
        same_model(arguments.same_model, max(repetitions // 10, 200))
        return
    coverage(repetitions)
    print()
    verdicts(max(repetitions // 10, 200))


if __name__ == "__main__":
    main()
