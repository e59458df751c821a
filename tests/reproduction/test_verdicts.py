"""Verdicts follow from numbers: planted ones of every kind."""

from __future__ import annotations

import math

import pytest

from nadir.reproduction.arms import EPSILON, MAIN, USUAL, V_STOCK
from nadir.reproduction.claims import CLAIMS, chosen
from nadir.reproduction.effects import best_scales, ladder, literal_weight
from nadir.reproduction.results import MissingResultError, Results
from nadir.reproduction.verdicts import interval, separation, verdict


@pytest.mark.parametrize(
    ("values", "least", "wanted"),
    [
        ([0.30, 0.32, 0.31], 0.05, "seen"),
        ([0.01, 0.02, 0.015], 0.05, "seen"),  # small, but certain
        ([0.00, 0.01, -0.01], 0.05, "not seen"),  # an effect that matters is excluded
        ([-0.3, -0.31, -0.32], 0.05, "not seen"),
        ([-0.3, -0.31, -0.32], 0.0, "not seen"),
        ([0.3, -0.1, 0.2], 0.05, "cannot be seen at this size"),
        ([0.3], 0.05, "cannot be seen at this size"),  # one seed says nothing
        ([], 0.05, "not measured"),
    ],
)
def test_a_verdict_is_the_interval_beside_zero_and_what_matters(
    values: list[float], least: float, wanted: str
) -> None:
    assert verdict(values, least) == wanted


def test_an_exact_calculation_needs_every_value_on_the_right_side() -> None:
    mixed = [0.8, 13.0, 0.9, 1.0]
    assert verdict(mixed, 0.0) == "cannot be seen at this size"  # as if chance had a part in it
    assert verdict(mixed, 0.0, exact=True) == "seen"
    assert verdict([*mixed, -0.1], 0.0, exact=True) == "cannot be seen at this size"
    found = interval(mixed, exact=True)
    assert (found.low, found.high) == (0.8, 13.0)


def test_separation_is_in_deviations_of_the_seeds() -> None:
    apart = separation([0.50, 0.52, 0.48], [0.10, 0.12, 0.08])
    assert apart is not None
    assert apart.difference == pytest.approx(0.4)
    assert apart.deviations == pytest.approx(20.0)
    assert separation([0.5], [0.1]) is None
    same = separation([0.5, 0.5], [0.1, 0.1])
    assert same is not None
    assert math.isinf(same.deviations)


def planted(**errors: list[float]) -> Results:
    found = {
        (arm, seed): {USUAL: {"numbers": {"ladder_error": value}, "levels": {}}}
        for arm, values in errors.items()
        for seed, value in enumerate(values)
    }
    return Results(found, (0, 1, 2))


def test_effects_pair_the_arms_by_seed() -> None:
    results = planted(**{MAIN: [0.1, 0.2, 0.3], EPSILON: [0.5, 0.5, 0.5]})
    assert ladder(results) == pytest.approx([0.4, 0.3, 0.2])
    with pytest.raises(MissingResultError):
        literal_weight(results)


def test_a_seed_that_one_arm_lacks_is_left_out() -> None:
    results = planted(**{MAIN: [0.1, 0.2, 0.3], EPSILON: [0.5, 0.6]})
    assert ladder(results) == pytest.approx([0.4, 0.4])
    assert results.number(MAIN, "ladder_error") == [0.1, 0.2, 0.3]
    with pytest.raises(MissingResultError):
        results.number(V_STOCK, "ladder_error")


def test_the_best_scale_is_that_of_the_lowest_error() -> None:
    curve = {1: 0.3, 2: 0.2, 3.5: 0.1, 5: 0.15, 7.5: 0.2, 10: 0.4}
    numbers = {f"brightness_error@{scale:g}": value for scale, value in curve.items()}
    results = Results({(MAIN, 0): {"cfg": {"numbers": numbers}}}, (0,))
    assert best_scales(results, MAIN) == [3.5]


def test_every_claim_of_the_paper_has_a_row() -> None:
    assert {claim.number for claim in CLAIMS} == set(range(1, 24))
    assert len({claim.name for claim in CLAIMS}) == len(CLAIMS)
    assert [claim.name for claim in chosen(["13", "start"])] == ["start", "min_snr"]
