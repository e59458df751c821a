"""Checkpoints are compared prompt by prompt, and the gate sums its checks up."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nadir.evaluation.gate import Check, at_most, gate
from nadir.evaluation.verdict.comparison import Criterion, paired_difference
from nadir.evaluation.verdict.intervals import bootstrap_mean
from nadir.ground.errors import NadirError

SCORE = Criterion("score", "primary", "higher")
SEEDS = range(4)


def table(values, *, metric="score", protocol="p", cfg=4.5):
    """`values` [prompts, seeds] as rows of an evaluation table."""
    rows = [
        (protocol, "c", cfg, f"prompt_{p}", seed, metric, value)
        for p, row in enumerate(values)
        for seed, value in enumerate(row)
    ]
    names = ["protocol_id", "checkpoint", "cfg_scale", "prompt_id", "seed", "metric", "value"]
    return pd.DataFrame(rows, columns=names)


def scores(rng, *, prompts=48, shift=0.0, difficulty=None):
    difficulty = rng.normal(0, 1, (prompts, 1)) if difficulty is None else difficulty
    return difficulty + shift + rng.normal(0, 0.2, (prompts, len(SEEDS)))


def test_a_gap_compares_distances_from_zero():
    rng = np.random.default_rng(4)
    noise = rng.normal(0, 0.01, (24, 4))
    criterion = Criterion("gap", "primary", "zero")
    champion, challenger = table(-0.3 + noise, metric="gap"), table(0.1 + noise, metric="gap")
    gain = paired_difference(champion, challenger, criterion, cfg_scale=4.5)
    assert gain.mean == pytest.approx(0.2, abs=0.01)
    assert gain.low > 0


def test_pairing_by_prompt_removes_what_prompts_differ_by():
    rng = np.random.default_rng(5)
    difficulty = rng.normal(0, 1, (48, 1))
    champion = table(scores(rng, difficulty=difficulty))
    challenger = table(scores(rng, difficulty=difficulty))
    gain = paired_difference(champion, challenger, SCORE, cfg_scale=4.5)
    assert gain.high - gain.low < 0.15
    spread = scores(rng, difficulty=difficulty).mean(axis=1)
    alone = bootstrap_mean(spread)
    assert alone.high - alone.low > 0.4


def test_the_bootstrap_is_the_same_every_time():
    values = np.random.default_rng(7).normal(size=20)
    assert bootstrap_mean(values) == bootstrap_mean(values)


def test_different_protocols_are_never_compared():
    with pytest.raises(NadirError, match="different protocols"):
        paired_difference(
            table(np.ones((4, 1))), table(np.ones((4, 1)), protocol="q"), SCORE, cfg_scale=4.5
        )


def test_a_metric_that_one_side_lacks_is_an_error():
    with pytest.raises(NadirError, match=r"no prompt has `score` at CFG 4\.5 in both"):
        paired_difference(
            table(np.ones((4, 1))), table(np.ones((4, 1)), cfg=5.5), SCORE, cfg_scale=4.5
        )


def test_a_failure_outweighs_everything_and_skipped_checks_alone_promote_nothing():
    good = at_most("good", 0.1, 1.0, "")
    bad = at_most("bad", 2.0, 1.0, "")
    skipped = at_most("skipped", None, 1.0, "")
    unclear = Check("unclear", 0.0, 0.0, "unresolved", "")
    assert gate([good, skipped]).verdict == "promote"
    assert gate([good, bad, unclear]).verdict == "reject"
    assert gate([good, unclear]).verdict == "inconclusive"
    assert gate([skipped]).verdict == "inconclusive"
    assert gate([good, bad]).reason == "not passed: bad"
