from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from nadir.ground.errors import NadirError
from nadir.training.reports.reporter import NoReporter, load_reporter

CALLS: list[str] = []


class Recorder(NoReporter):
    def started(self, info: dict[str, Any]) -> None:
        CALLS.append(f"started {info['a']}")

    def step(self, step: int, images: int, metrics: dict[str, float]) -> None:
        raise ConnectionError("tracker is down")


def test_without_a_name_nothing_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NADIR_REPORTER", raising=False)
    reporter = load_reporter()
    reporter.started({})
    reporter.step(1, 2, {"loss": 0.0})
    reporter.preview(1, "x", Image.new("RGB", (1, 1)))
    reporter.artifact(Path("x"))
    reporter.finished("FINISHED")


def test_the_environment_names_the_reporter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NADIR_REPORTER", f"{__name__}:Recorder")
    CALLS.clear()
    load_reporter().started({"a": 3})
    assert CALLS == ["started 3"]


def test_a_tracker_that_fails_is_told_of_a_few_times_and_never_stops_training(
    caplog: pytest.LogCaptureFixture,
) -> None:
    reporter = load_reporter(f"{__name__}:Recorder")
    with caplog.at_level(logging.WARNING):
        for step in range(10):
            reporter.step(step, 0, {})
    assert len(caplog.records) == 3
    assert "tracker is down" in caplog.text


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nadir", "not of the form module:attribute"),
        ("no_such_module_anywhere:X", "No module named"),
        ("nadir.training.reports.reporter:Nothing", "cannot load"),
    ],
)
def test_a_name_that_cannot_be_loaded_is_a_clear_error(spec: str, message: str) -> None:
    with pytest.raises(NadirError, match=message) as caught:
        load_reporter(spec)
    assert caught.value.where == "NADIR_REPORTER"
    assert "unset" in caught.value.fix
