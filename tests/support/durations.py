"""What each test takes, measured: which tests are slow, and which files start first.

`tests/durations.json` holds seconds, written by `make durations` (a run with
`--record-durations`, whole or of a part; the rest is kept):

- `tests`: the call of a test, its longest where it has parameters;
- `fixtures`: setting a fixture up without those it uses, the shortest seen, so that what is made
  once per process does not count against every test.

A test costs its call and its fixtures. What is not in the file costs nothing: a new test is fast
until it is measured.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FILE = Path(__file__).parents[1] / "durations.json"
SLOW_S = 0.1
_KEPT_S = 0.05
_LONGEST_PICKED_S = 5
_PROPERTY = "fixture_seconds"


def test_name(node_id: str) -> str:
    """A test without its parameters."""
    return node_id.partition("[")[0]


def fixture_name(fixture: pytest.FixtureDef[Any]) -> str:
    """Where a fixture is visible, and its name."""
    return f"{fixture.baseid}::{fixture.argname}"


class Durations:
    """The file's content."""

    def __init__(self) -> None:
        known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
        self._tests: dict[str, float] = known.get("tests", {})
        self._fixtures: dict[str, float] = known.get("fixtures", {})

    def of(self, item: pytest.Function) -> float:
        """Seconds that a test takes with all its fixtures."""
        used = [found[-1] for found in item._fixtureinfo.name2fixturedefs.values()]
        shared = sum(self._fixtures.get(fixture_name(fixture), 0.0) for fixture in used)
        return self._tests.get(test_name(item.nodeid), 0.0) + shared

    def arrange(self, items: list[pytest.Item]) -> None:
        """Mark the slow tests, and let the file that takes longest come first.

        The cheapest test of each folder is not slow if it takes under five seconds, so that fast
        runs enter every room; those of a story cost what comes before them and are never picked.
        """
        seconds = {item: self.of(item) for item in items if isinstance(item, pytest.Function)}
        files: Counter[str] = Counter()
        cheapest: dict[Path, pytest.Item] = {}
        for item in sorted(items, key=seconds.__getitem__):
            files[item.location[0]] += seconds[item]
            alone = seconds[item] <= _LONGEST_PICKED_S and not item.get_closest_marker("story")
            if alone and item is cheapest.setdefault(item.path.parent, item):
                continue
            if seconds[item] > SLOW_S or not alone:
                item.add_marker("slow")
        items.sort(key=lambda item: -files[item.location[0]])


class Recorder:
    """Measures, and writes the file at the end; in a worker of xdist it measures only."""

    def __init__(self) -> None:
        self._item: pytest.Item | None = None
        self._tests: dict[str, float] = {}
        self._fixtures: dict[str, float] = {}

    def pytest_runtest_logstart(self) -> None:
        self._item = None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._item = item

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        begin = time.perf_counter()
        result = yield
        if self._item is not None:
            seconds = time.perf_counter() - begin
            measured = (_PROPERTY, [fixture_name(fixturedef), seconds])
            self._item.user_properties.append(measured)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            name = test_name(report.nodeid)
            self._tests[name] = max(report.duration, self._tests.get(name, 0.0))
        if report.when == "teardown":
            for key, measured in report.user_properties:
                if key == _PROPERTY:
                    name, seconds = measured
                    self._fixtures[name] = min(seconds, self._fixtures.get(name, seconds))

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.is_file() else {}
        new = {"tests": self._tests, "fixtures": self._fixtures}
        kept = {
            kind: {
                name: round(seconds, 2)
                for name, seconds in sorted((known.get(kind, {}) | measured).items())
                if seconds > _KEPT_S
            }
            for kind, measured in new.items()
        }
        FILE.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
