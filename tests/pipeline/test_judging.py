"""A second model is judged beside the first, by real tables in a real registry."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from tests.mini.project import MiniProject

from nadir.ground.errors import NadirError
from nadir.pipeline.opening import open_session
from nadir.pipeline.promotion import promote
from nadir.pipeline.session import Session
from nadir.tracking.registry.versions import alias_table
from nadir.tracking.store.connection import connect


@pytest.fixture
def quick(trained: MiniProject, monkeypatch: pytest.MonkeyPatch) -> Iterator[MiniProject]:
    monkeypatch.setenv("NADIR_TRACKING", "none")
    return trained


def run(project: MiniProject, source: str | None = None) -> Session:
    if source is not None:
        project.source(source)
    with open_session(project.root, until=None, flow_run_id="one", name="fox") as session:
        for stage in session.stages:
            session.run(stage)
        session.register()
    return session


def loss_of(source: str) -> float:
    """What `tests.mini.steps` makes of a source."""
    return random.Random(source).random()


def sources() -> tuple[str, str]:
    """One whose model is worse than that of `pictures`, and one whose model is better."""
    names = [f"pictures {i}" for i in range(50)]
    usual = loss_of("pictures")
    worse = next(name for name in names if loss_of(name) > usual + 0.1)
    return worse, next(name for name in names if loss_of(name) < usual - 0.05)


def test_the_first_is_champion_a_worse_one_is_refused_and_a_better_one_promoted(
    quick: MiniProject,
) -> None:
    first = run(quick)
    assert first.registering.judged is not None
    assert first.registering.judged.verdict == "alone"
    assert "absolute checks only" in first.registering.judged.reason
    client = connect(quick.root)
    assert alias_table(client, "nadir")["champion"] == "1"
    worse, better = sources()
    second = run(quick, worse).registering.judged
    assert second is not None
    assert (second.verdict, second.against) == ("reject", 1)
    assert "worse than the champion: loss +" in second.reason
    with pytest.raises(NadirError, match="version 2 beside version 1 is `reject`: worse than"):
        promote(quick.root)
    third = run(quick, better).registering.judged
    assert third is not None
    assert third.verdict == "promote"
    version = client.get_model_version("nadir", "3")
    assert version.tags["nadir.judged.against"] == "1"
    page = third.page
    assert page is not None
    text = page.read_text()
    assert text.index("takes the champion") < text.index("95 % interval")
    kept = {file.path for file in client.list_artifacts(version.run_id, "judgement")}
    assert kept == {"judgement/judgement.html", "judgement/judgement.json"}
    assert json.loads((page.parent / "judgement.json").read_text())["verdict"] == "promote"
    assert promote(quick.root).champion == 3
    check_what_was_judged_beside_another(quick)


def check_what_was_judged_beside_another(quick: MiniProject) -> None:
    """Continues the test above, whose trainings take most of its time."""
    with pytest.raises(NadirError, match="was judged against version 1, and the champion is ver"):
        promote(quick.root, version=2)
    done = promote(quick.root, version=2, force_reason="its colours")
    assert (done.champion, done.previous) == (2, 3)
    tags = connect(quick.root).get_model_version("nadir", "2").tags
    assert tags["nadir.forced"] == "its colours"
    assert tags["nadir.forced.over"] == "version 3, verdict reject"


def test_a_metric_that_does_not_exist_is_refused_before_anything_runs(quick: MiniProject) -> None:
    quick.set("metric: loss", "metric: prettiness")
    with (
        pytest.raises(NadirError, match="`prettiness` is not a metric"),
        open_session(quick.root, until=None, flow_run_id="one", name="fox"),
    ):
        pass
