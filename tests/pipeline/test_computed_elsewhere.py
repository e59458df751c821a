"""What one worker computed is fetched by another over DVC's remote, and nothing hangs on that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.mini.project import MiniProject

from nadir.pipeline.opening import open_session
from nadir.pipeline.storage.computed_elsewhere import Elsewhere, send_all
from nadir.tracking.lock_file import output_hashes, read_lock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def workers(
    trained: MiniProject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[MiniProject, MiniProject]:
    """One that has trained, and one on another machine: they share code and a DVC remote."""
    monkeypatch.setenv("NADIR_TRACKING", "none")
    trained.dvc("remote", "add", "-q", "-d", "shared", str(tmp_path / "objects"))
    trained.set("  share: versions ", "  share: everything ")
    trained.git("commit", "-q", "-am", "Share what is computed")
    trained.git("clone", "-q", str(trained.root), str(tmp_path / "second"))
    return trained, MiniProject(tmp_path / "second")


def states(worker: MiniProject) -> tuple[dict[str, str], str]:
    """What became of the stages, and what was told."""
    told: list[str] = []
    with open_session(worker.root, until="evaluate", flow_run_id="b", name="b") as session:
        found = {stage: session.run(stage, on_line=told.append).state for stage in session.stages}
    return found, "\n".join(told)


def test_a_worker_fetches_what_another_computed_and_computes_the_rest(
    workers: tuple[MiniProject, MiniProject], tmp_path: Path
) -> None:
    first, second = workers
    told: list[str] = []
    assert send_all(first.root, told.append)
    assert told == ["register: DVC's remote `shared` has all outputs, for other workers"]
    lost = output_hashes(read_lock(first.root))["models/base"]
    (tmp_path / "objects/files/md5" / lost[:2] / lost[2:]).unlink()
    found, text = states(second)
    assert found == {
        "ingest": "executed",  # it looks at the source each time
        "encode": "restored",
        "base_model": "executed",  # the remote has lost it
        "train": "restored",
        "evaluate": "restored",
    }
    assert "train: another worker's result, from DVC's remote" in text
    assert output_hashes(read_lock(second.root)) == output_hashes(read_lock(first.root))


def test_a_damaged_object_of_the_remote_is_not_taken_over(
    workers: tuple[MiniProject, MiniProject], tmp_path: Path
) -> None:
    first, second = workers
    assert send_all(first.root, lambda _line: None)
    lock = output_hashes(read_lock(first.root))
    md5 = lock["models/run.json"]
    damaged = tmp_path / "objects/files/md5" / md5[:2] / md5[2:]
    damaged.chmod(0o644)
    damaged.write_text("something else")
    found, _ = states(second)
    assert found["encode"] == "restored"
    assert found["train"] == "executed"
    assert output_hashes(read_lock(second.root))["models/checkpoint"] == lock["models/checkpoint"]


def test_where_the_remote_is_away_it_is_said_once_and_nothing_else_happens(
    workers: tuple[MiniProject, MiniProject], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = workers
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-to-be-seen")
    first.dvc("remote", "add", "-q", "-d", "-f", "shared", "s3://bucket/objects")
    first.dvc("remote", "modify", "-q", "shared", "endpointurl", "http://127.0.0.1:9")
    told: list[str] = []
    elsewhere = Elsewhere(first.root)
    for stage in ("encode", "train"):
        elsewhere.bring(stage, told.append)
    (line,) = told
    assert "what other workers computed cannot be fetched from s3://bucket/objects: " in line
    assert "until then it is computed here" in line
    assert not send_all(first.root, told.append)
    assert "what other workers could take over was not sent to s3://bucket/objects" in told[1]
    assert "`nadir run` sends it" in told[1]


def test_without_the_setting_nothing_is_asked_or_sent(
    workers: tuple[MiniProject, MiniProject],
) -> None:
    first, second = workers
    second.set("  share: everything ", "  share: versions ")
    assert send_all(first.root, lambda _line: None)
    told: list[str] = []
    Elsewhere(second.root).bring("encode", told.append)
    assert told == []
    assert not (second.root / ".dvc/cache/runs").exists()
