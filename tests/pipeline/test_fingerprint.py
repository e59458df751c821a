"""The fingerprint of a stage is known before it runs and equals that of DVC's later entry."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.mini.project import STAGES, MiniProject

from nadir.ground.errors import NadirError
from nadir.ground.files import write_json
from nadir.pipeline.fingerprint import entry_fingerprint, path_md5, stage_fingerprint
from nadir.pipeline.freshness import Change, change_of_inputs
from nadir.tracking.lock_file import output_hashes, read_lock


@pytest.fixture(autouse=True)
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NADIR_TRACKING", "none")


def test_it_equals_the_later_lock_entry_for_every_stage(project: MiniProject) -> None:
    before = {}
    for stage in STAGES:
        before[stage] = stage_fingerprint(stage, project.root)
        project.dvc("repro", "--single-item", stage)
    after = {stage: entry_fingerprint(entry) for stage, entry in read_lock(project.root).items()}
    assert before == after


def test_code_parameters_and_upstream_outputs_change_it(trained: MiniProject) -> None:
    seen = {stage_fingerprint("train", trained.root)}
    (trained.root / "code.py").write_text("# other code\n", encoding="utf-8")
    seen.add(stage_fingerprint("train", trained.root))
    trained.set("  max_gradient_norm: 1.0", "  max_gradient_norm: 2.0")
    seen.add(stage_fingerprint("train", trained.root))
    trained.source("other pictures")
    trained.dvc("repro", "encode")
    seen.add(stage_fingerprint("train", trained.root))
    assert len(seen) == 4


def test_parameters_of_other_stages_do_not(trained: MiniProject) -> None:
    before = stage_fingerprint("train", trained.root)
    trained.set("max_brightness_error: 0.15", "max_brightness_error: 0.5")
    assert stage_fingerprint("train", trained.root) == before


def test_what_stops_a_training_shapes_none_so_a_stopped_one_goes_on(trained: MiniProject) -> None:
    before = stage_fingerprint("train", trained.root)
    trained.set("stop_on: []", "stop_on: [spikes]")
    assert stage_fingerprint("train", trained.root) == before
    trained.set("validation: {every: 250", "validation: {every: 200")
    assert stage_fingerprint("train", trained.root) != before


def test_a_directorys_md5_is_dvcs(trained: MiniProject) -> None:
    outputs = output_hashes(read_lock(trained.root))
    for path in ("data/latents", "models/base", "models/run.json"):
        assert path_md5(trained.root / path) == outputs[path]
    assert len(outputs["data/latents"]) == 36, "as long as an MLflow dataset digest may be"


def test_a_missing_dependency_is_named(project: MiniProject) -> None:
    with pytest.raises(NadirError, match=r"data/listing\.txt: a dependency is missing"):
        stage_fingerprint("encode", project.root)


def test_an_unknown_stage_and_parameter_are_named(project: MiniProject) -> None:
    with pytest.raises(NadirError, match="no stage `nothing`"):
        stage_fingerprint("nothing", project.root)
    project.set("\nencode:", "\nencodes:")
    project.dvc("repro", "--single-item", "ingest")
    with pytest.raises(NadirError, match="no parameter `encode`"):
        stage_fingerprint("encode", project.root)


def test_templates_are_refused_rather_than_misread(project: MiniProject) -> None:
    path = project.root / "dvc.yaml"
    text = path.read_text(encoding="utf-8").replace("steps.py train", "steps.py ${name}")
    path.write_text(text, encoding="utf-8")
    with pytest.raises(NadirError, match="DVC templates"):
        stage_fingerprint("train", project.root)


def test_yaml_is_read_as_dvc_reads_it(tmp_path: Path, project: MiniProject) -> None:
    project.set("mixed_precision: 'no'", "mixed_precision: no")
    project.dvc("repro", "train")
    entry = read_lock(project.root)["train"]
    assert entry["params"]["params.yaml"]["train"]["mixed_precision"] == "no"
    assert stage_fingerprint("train", project.root) == entry_fingerprint(entry)


def test_the_decoder_that_a_training_is_published_with_does_not_change_it(
    trained: MiniProject,
) -> None:
    def fingerprints(decoder: int) -> list[str]:
        write_json(trained.root / "models/decoder/decoder.json", {"steps": decoder})
        return [stage_fingerprint("train", trained.root, published=p) for p in (False, True)]

    place = trained.root / "dvc.yaml"
    text = place.read_text(encoding="utf-8")
    place.write_text(text.replace("code.py]", "code.py, models/decoder]"), encoding="utf-8")
    before, after = fingerprints(1), fingerprints(2)
    assert after[0] == before[0]
    assert after[1] != before[1]
    trained.dvc("commit", "--force", "train")
    entry = read_lock(trained.root)["train"]
    assert [entry_fingerprint(entry, published=p) for p in (False, True)] == after
    assert change_of_inputs("train", trained.root, entry) is Change.NOTHING
    fingerprints(3)
    assert change_of_inputs("train", trained.root, entry) is Change.INPUTS
