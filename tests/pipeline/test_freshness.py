"""What "unchanged" means is said once, and DVC, fingerprints and finished trainings agree on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mini.project import STAGES, MiniProject

from nadir.pipeline.fingerprint import stage_fingerprint
from nadir.pipeline.freshness import (
    Change,
    change_of_inputs,
    change_of_training,
    state_by_dvc,
)
from nadir.pipeline.graph import changed_stages
from nadir.tracking.lock_file import read_lock


def by_dvc(project: MiniProject, stage: str) -> Change:
    return changed_stages(project.root).get(stage, Change.NOTHING)


def by_fingerprint(project: MiniProject, stage: str) -> Change:
    return change_of_inputs(stage, project.root, read_lock(project.root).get(stage))


def test_dvc_and_the_fingerprint_agree_about_inputs_and_dvc_knows_outputs_too(
    trained: MiniProject,
) -> None:
    asked = [stage for stage in STAGES if stage != "ingest"]  # which always runs
    assert {by_fingerprint(trained, stage) for stage in asked} == {Change.NOTHING}
    assert not set(asked) & set(changed_stages(trained.root))

    (trained.root / "models/checkpoint/nadir.json").unlink()
    assert by_dvc(trained, "train") is Change.OUTPUTS
    assert by_fingerprint(trained, "train") is Change.NOTHING

    trained.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    assert by_dvc(trained, "train") is Change.INPUTS | Change.OUTPUTS
    assert by_fingerprint(trained, "train") is Change.INPUTS
    assert change_of_inputs("train", trained.root, None) is Change.INPUTS, "it never ran"


def test_an_input_that_is_gone_is_a_changed_one(trained: MiniProject) -> None:
    (trained.root / "code.py").unlink()
    assert by_fingerprint(trained, "train") is Change.INPUTS


def test_dvcs_own_lines_say_what_became_of_a_stage(
    trained: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")

    def state() -> str:
        printed = trained.dvc("repro", "--single-item", "train").splitlines()
        return next(filter(None, map(state_by_dvc, printed)), "unchanged")

    assert state() == "unchanged"
    (trained.root / "models/checkpoint/nadir.json").unlink()
    assert state() == "restored"
    trained.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    assert state() == "executed"


def test_of_a_finished_training_only_the_outputs_are_missing(
    trained: MiniProject, tmp_path: Path
) -> None:
    folder = tmp_path / stage_fingerprint("train", trained.root)
    (folder / "checkpoints").mkdir(parents=True)
    assert change_of_training(folder) is Change.INPUTS
    (folder / "output").mkdir()
    assert change_of_training(folder) is Change.OUTPUTS
