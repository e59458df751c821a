from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nadir.training.reports.history import History


def history_of(steps: int, batch_size: int) -> History:
    return History(steps, images_before=lambda step: step * batch_size)


def fill(history: History, first: int, last: int) -> list[int]:
    """Add steps and return those that gave means."""
    return [
        step
        for step in range(first, last + 1)
        if history.add(step, loss=float(step), unweighted=2.0 * step, gradient_norm=1.0)
    ]


def test_a_row_holds_the_mean_of_ten_steps_and_the_last_step_always_makes_one() -> None:
    history = history_of(205, batch_size=4)
    assert fill(history, 1, 205) == [*range(10, 201, 10), 205]


def test_means_cover_the_steps_since_the_last_row() -> None:
    history = history_of(200, batch_size=4)
    fill(history, 1, 19)
    means = history.add(20, loss=20.0, unweighted=40.0, gradient_norm=3.0)
    assert means == pytest.approx({"loss": 15.5, "unweighted_loss": 31.0, "gradient_norm": 1.2})


def test_an_infinite_gradient_of_a_skipped_fp16_step_belongs_to_no_mean() -> None:
    history = history_of(2, batch_size=1)
    means = history.add(1, loss=1.0, unweighted=1.0, gradient_norm=math.inf)
    assert means == {"loss": 1.0, "unweighted_loss": 1.0}


def test_the_summary_tells_steps_images_and_the_mean_of_the_last_hundred() -> None:
    history = history_of(300, batch_size=8)
    fill(history, 1, 300)
    assert history.summary() == pytest.approx(
        {"steps": 300, "images": 2400, "loss": 295.5, "loss_last_100": 250.5}
    )


def test_a_history_that_went_through_json_goes_on_exactly(tmp_path: Path) -> None:
    whole, first = history_of(200, batch_size=4), history_of(200, batch_size=4)
    for history, until in ((whole, 200), (first, 77)):
        for step in range(1, until + 1):
            history.add(step, loss=1 / step, unweighted=0.1 * step, gradient_norm=1.0)
    second = history_of(200, batch_size=4)
    second.load(json.loads(json.dumps(first.state())))
    for step in range(78, 201):
        second.add(step, loss=1 / step, unweighted=0.1 * step, gradient_norm=1.0)
    assert second.summary() == whole.summary()
    for name, history in (("a", whole), ("b", second)):
        history.write_csv(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_csv_has_images_and_loss_for_the_plot(tmp_path: Path) -> None:
    history = history_of(40, batch_size=4)
    fill(history, 1, 40)
    history.write_csv(tmp_path / "loss.csv")
    lines = (tmp_path / "loss.csv").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["step,images,loss,unweighted_loss", "2,8,1.5,3"]
    assert len(lines) == 21


def test_errors_by_band_are_means_over_samples_and_survive_a_resume(tmp_path: Path) -> None:
    """A band without a sample in a row has no number there, which is not 0."""
    found = {}
    for name, stops in (("whole", []), ("parts", [3])):
        history = history_of(80, batch_size=4)
        for step in range(1, 9):
            by_band = ([0.5 * step, 0.0, 1.0], [1.0, 0.0, 3.0])
            means = history.add(step, loss=1, unweighted=1, gradient_norm=1, by_band=by_band)
            if step in stops:
                state = json.loads(json.dumps(history.state()))
                history = history_of(80, batch_size=4)
                history.load(state)
        found[name] = means
        history.write_csv(tmp_path / name)
    assert found["whole"] == found["parts"]
    assert found["whole"] is not None
    assert found["whole"]["training_low_sigma"] == pytest.approx(0.5 * (5 + 6 + 7 + 8) / 4)
    assert found["whole"]["training_high_sigma"] == pytest.approx(1 / 3)
    assert "training_mid_sigma" not in found["whole"]
    header, *rows = (tmp_path / "whole").read_text().splitlines()
    assert header.endswith("unweighted_loss,training_low_sigma,training_high_sigma")
    assert rows[1].endswith(",3.25,0.333333")
    assert (tmp_path / "whole").read_bytes() == (tmp_path / "parts").read_bytes()


def test_images_are_those_of_batches_of_different_sizes() -> None:
    history = History(steps=2, images_before=[0, 8, 20].__getitem__)
    fill(history, 1, 2)
    assert history.summary()["images"] == 20
