"""A version is judged beside the champion, on tables that the registry or the workspace keeps."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient
from tests.mini.project import MiniProject
from tests.mini.steps import _write_table
from tests.mini.weights import add_version

from nadir.ground.errors import NadirError
from nadir.pipeline.promotion import promote
from nadir.tracking.registry.evaluations import evaluation_folder
from nadir.tracking.registry.judgements import Judged, judge_version
from nadir.tracking.registry.versions import Version, resolve_version
from nadir.tracking.store.connection import connect


@pytest.fixture
def client(project: MiniProject) -> MlflowClient:
    return connect(project.root)


def version_with(client: MlflowClient, root: Path, loss: float) -> Version:
    """A version whose run keeps the table of an evaluation with this loss."""
    number = add_version(client, root)
    version = resolve_version(f"models:/nadir/{number}", root)
    table = root / "made" / "evaluation.parquet"
    _write_table(loss, 0.0, table)
    client.log_artifact(version.run_id, str(table))
    return version


def judged(version: Version, root: Path) -> Judged:
    def never(*_: object) -> str:
        raise AssertionError("nothing is to be drawn")

    return judge_version(root, version, draw=never)


def test_each_is_judged_beside_the_champion_of_the_moment(
    client: MlflowClient, project: MiniProject
) -> None:
    root = project.root
    first = version_with(client, root, 0.5)
    alone = judged(first, root)
    assert (alone.verdict, alone.against) == ("alone", None)
    assert "absolute checks only" in alone.reason
    promote(root)
    worse, better = version_with(client, root, 0.6), version_with(client, root, 0.4)
    assert judged(worse, root).verdict == "reject"
    with pytest.raises(NadirError, match="version 2 beside version 1 is `reject`: worse than"):
        promote(root, version=2)
    with pytest.raises(NadirError, match="version 3 was judged against no other"):
        promote(root, version=3)
    done = judged(better, root)
    assert (done.verdict, done.against) == ("promote", 1)
    assert done.page is not None
    text = done.page.read_text()
    assert text.index("takes the champion") < text.index("95 % interval")
    kept = {file.path for file in client.list_artifacts(better.run_id, "judgement")}
    assert kept == {"judgement/judgement.html", "judgement/judgement.json"}
    assert promote(root, version=3).champion == 3
    with pytest.raises(NadirError, match="was judged against version 1, and the champion is ver"):
        promote(root, version=2)
    assert promote(root, version=2, force_reason="its colours").previous == 3
    tags = client.get_model_version("nadir", "2").tags
    assert tags["nadir.forced"] == "its colours"
    assert tags["nadir.forced.over"] == "version 3, verdict reject"


def test_a_champion_that_was_never_drawn_is_drawn_once_and_one_that_cannot_leaves_it_open(
    client: MlflowClient, project: MiniProject
) -> None:
    root = project.root
    number = add_version(client, root)
    promote(root)
    champion = resolve_version(f"models:/nadir/{number}", root)
    version = version_with(client, root, 0.4)
    drawn = []

    def fails(*_: object) -> str:
        raise NadirError("its weights are nowhere", fix="none")

    open_still = judge_version(root, version, draw=fails)
    assert open_still.verdict == "inconclusive"
    assert open_still.reason == "version 1 cannot be compared with: its weights are nowhere"

    def draw(first: Version, second: Version, protocol_id: str | None) -> str:
        assert (first.md5, second.md5, protocol_id) == (champion.md5, version.md5, "mini")
        drawn.append(first.version)
        _write_table(0.5, 0.0, evaluation_folder(root, "mini", first.md5) / "evaluation.parquet")
        return "mini"

    assert judge_version(root, version, draw=draw).verdict == "promote"
    assert judge_version(root, version, draw=draw).verdict == "promote"
    assert drawn == [1]
    shutil.rmtree(root / "work/evaluations")
    assert judge_version(root, version, draw=draw).verdict == "promote"
    assert drawn == [1, 1], "only the candidate's is with its run"
