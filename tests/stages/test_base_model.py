"""Stage base_model: its folder, its log, and a source that is not a model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tests.support.training_project import TINY

from nadir.ground.events import read_events
from nadir.stages.base_model import main


@pytest.fixture
def project(tmp_path: Path, params_text: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    yaml = YAML()
    params = yaml.load(params_text)
    params["base_model"]["tiny"] = json.loads(TINY.model_dump_json())
    with (tmp_path / "params.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(params, file)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NADIR_EVENTS", str(tmp_path / "events.jsonl"))
    return tmp_path


def test_the_tiny_base_is_made_with_progress_and_a_summary(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main()
    facts = json.loads((project / "models/base/base.json").read_text(encoding="utf-8"))
    assert facts["source"] == "tiny"
    assert str(project) not in json.dumps(facts)
    assert "base_model: tiny, U-Net of" in capsys.readouterr().out
    events, _ = read_events(project / "events.jsonl")
    assert [event["kind"] for event in events][0::3] == ["stage_started", "stage_finished"]
    assert {event["kind"] for event in events} > {"progress", "result"}


def test_running_again_gives_the_same_bytes(project: Path) -> None:
    def contents() -> dict[Path, bytes]:
        return {p: p.read_bytes() for p in Path("models/base").rglob("*") if p.is_file()}

    main()
    first = contents()
    main()
    assert contents() == first


def test_a_source_that_is_nowhere_ends_the_stage_with_the_fix(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (project / "params.yaml").read_text(encoding="utf-8")
    text = text.replace("source: tiny", "source: ./nowhere")
    (project / "params.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit):
        main()
    error = capsys.readouterr().err
    assert "there is no model at ./nowhere" in error
    assert "fix: set it to tiny" in error
    assert not (project / "models/base").exists()
