"""Learning rates, each against its formula; those of before, to the bit."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter
from tests.training.test_trainer import train, weights

from nadir.config.learning_rate import LearningRateParams
from nadir.training.optim.schedules import FACTORS, learning_rate

WARMUP, STEPS, PEAK = 4, 24, 0.003
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {},
    "cosine": {"final": 0.0},
    "cosine_restarts": {"cycles": 2, "final": 0.1},
    "polynomial": {"power": 2.0, "final": 0.25},
    "rex": {"final": 0.0},
    "points": {"points": [[0.0, 0.5], [0.5, 1.0], [0.75, 0.2]]},
}


def rates(name: str, **changes: Any) -> list[float]:
    schedule = TypeAdapter(LearningRateParams).validate_json(
        json.dumps({"name": name, **(SCHEDULES[name] | changes)})
    )
    return [
        learning_rate(step, peak=PEAK, warmup_steps=WARMUP, steps=STEPS, schedule=schedule)
        for step in range(STEPS)
    ]


def test_every_schedule_is_tested() -> None:
    assert set(SCHEDULES) == set(FACTORS)


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rate_warms_up_linearly_to_the_schedules_first_value(name: str) -> None:
    found = rates(name)
    first = PEAK * (0.5 if name == "points" else 1.0)
    assert found[: WARMUP + 1] == pytest.approx([first * k / 5 for k in range(1, 6)])


def test_constant_and_cosine_give_the_rates_they_always_gave_to_the_bit() -> None:
    assert rates("constant")[WARMUP:] == [PEAK] * (STEPS - WARMUP)
    shares = [(step - WARMUP) / (STEPS - WARMUP) for step in range(WARMUP, STEPS)]
    expected = [PEAK * 0.5 * (1 + math.cos(math.pi * share)) for share in shares]
    assert rates("cosine")[WARMUP:] == expected
    assert rates("cosine")[:WARMUP] == [PEAK * (k + 1) / (WARMUP + 1) for k in range(WARMUP)]


def test_a_cosine_falls_to_its_final_share() -> None:
    plain, raised = rates("cosine"), rates("cosine", final=0.2)
    assert raised == pytest.approx(
        plain[:WARMUP] + [PEAK * 0.2 + 0.8 * rate for rate in plain[WARMUP:]]
    )


def test_restarts_begin_each_cycle_at_the_peak() -> None:
    found = rates("cosine_restarts")[WARMUP:]
    assert found[0] == found[10] == pytest.approx(PEAK)
    assert found[:10] == pytest.approx(found[10:])
    assert found[5] == pytest.approx(PEAK * 0.55)
    assert rates("cosine_restarts", cycles=1, final=0.0) == rates("cosine")


def test_polynomial_rex_and_points_follow_their_formulas() -> None:
    shares = [number / 20 for number in range(20)]
    assert rates("polynomial")[WARMUP:] == pytest.approx(
        [PEAK * (0.25 + 0.75 * (1 - z) ** 2) for z in shares]
    )
    # Chen et al.: (1 - z) / (1/2 + 1/2 (1 - z))
    assert rates("rex")[WARMUP:] == pytest.approx(
        [PEAK * (1 - z) / (0.5 + 0.5 * (1 - z)) for z in shares]
    )
    points = rates("points")[WARMUP:]
    assert points[5] == pytest.approx(PEAK * 0.75)
    assert points[10] == pytest.approx(PEAK)
    assert points[15:] == pytest.approx([PEAK * 0.2] * 5)


@pytest.mark.parametrize(
    "points", [[], [[0.5, 1], [0.5, 2]], [[0.5, 1], [0.2, 1]], [[0, -1]], [[0, 1], [1.5, 1]]]
)
def test_points_that_are_not_a_curve_are_refused(points: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="point"):
        rates("points", points=points)


def test_the_schedule_shapes_the_training(project: Path) -> None:
    short = {"steps": 5, "warmup_steps": 1, "preview_every": 0}
    found = []
    for number, (name, settings) in enumerate(SCHEDULES.items()):
        work = project / f"work{number}"
        recorder = train(work, learning_rate_schedule={"name": name, **settings}, **short)
        assert [metrics["learning_rate"] for *_, metrics in recorder.steps]
        found.append(weights(work)["conv_in.weight"].sum().item())
    assert len(set(found)) == len(found)
