"""The gate promotes what is better, rejects what is worse, and says when it cannot tell."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from nadir.evaluation.comparison import Criterion, bootstrap_mean, compare, paired_difference
from nadir.evaluation.gate import Check, at_most, gate
from nadir.ground.errors import NadirError

SCORE = Criterion("score", "primary", "higher")
ERROR = Criterion("error", "guard", "lower", margin=0.02)
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


def verdict(champion, challenger, criteria=(SCORE,)):
    return gate(compare(champion, challenger, criteria, cfg_scale=4.5)).verdict


def test_a_clearly_better_challenger_is_promoted_and_a_clearly_worse_one_rejected():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(0, 1, (48, 1))
    champion = table(scores(rng, difficulty=difficulty))
    better = table(scores(rng, difficulty=difficulty, shift=0.2))
    worse = table(scores(rng, difficulty=difficulty, shift=-0.2))
    assert verdict(champion, better) == "promote"
    assert verdict(champion, worse) == "reject"


def test_a_model_against_itself_with_other_seeds_is_rarely_promoted_or_rejected():
    rng = np.random.default_rng(1)
    verdicts = []
    for _ in range(60):
        difficulty = rng.normal(0, 1, (48, 1))
        pair = [table(scores(rng, difficulty=difficulty)) for _ in range(2)]
        verdicts.append(verdict(*pair))
    assert verdicts.count("inconclusive") >= 52


def test_identical_results_are_inconclusive_as_primary_and_fine_as_guard():
    rows = table(scores(np.random.default_rng(2)), metric="error")
    primary = Criterion("error", "primary", "lower")
    assert compare(rows, rows, [primary], cfg_scale=4.5)[0].state == "unresolved"
    assert compare(rows, rows, [ERROR], cfg_scale=4.5)[0].state == "pass"


def test_a_guard_tolerates_less_than_its_margin_and_fails_beyond_it():
    rng = np.random.default_rng(3)
    base = rng.uniform(0.1, 0.3, (48, 4))
    champion = table(base, metric="error")
    for worsening, state in ((0.005, "pass"), (0.1, "fail")):
        challenger = table(base + worsening + rng.normal(0, 0.002, base.shape), metric="error")
        assert compare(champion, challenger, [ERROR], cfg_scale=4.5)[0].state == state


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


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(6)
    hits = 0
    for _ in range(200):
        interval = bootstrap_mean(rng.normal(1, 1, 40), resamples=1000)
        hits += interval.low <= 1 <= interval.high
    assert 178 <= hits <= 199


def test_the_bootstrap_is_the_same_every_time():
    values = np.random.default_rng(7).normal(size=20)
    assert bootstrap_mean(values) == bootstrap_mean(values)


def test_three_prompts_settle_nothing():
    champion, challenger = table(np.zeros((3, 2))), table(np.ones((3, 2)))
    assert verdict(champion, challenger) == "inconclusive"


def test_an_open_question_says_how_many_more_prompts_it_needs():
    rng = np.random.default_rng(8)
    base = rng.normal(0, 1, (12, 1))
    challenger = table(base + 0.1 + rng.normal(0, 0.5, (12, 1)))
    check = compare(table(base), challenger, [SCORE], cfg_scale=4.5)[0]
    assert check.state == "unresolved"
    assert "times the prompts" in check.meaning


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
