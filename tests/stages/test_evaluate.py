"""The stage writes what dvc.yaml promises, the same bytes each time."""

from __future__ import annotations

import hashlib
import json
import shutil

import pyarrow.parquet as pq
import pytest
from PIL import Image
from tests.support.small_checkpoint import write_base, write_checkpoint, write_holdout

from nadir.config.edit import set_values
from nadir.evaluation.results import EVALUATION
from nadir.ground.errors import NadirError
from nadir.ground.events import EVENTS_VARIABLE, read_events
from nadir.model.load import LatentScaling
from nadir.sampling import generate
from nadir.stages.evaluate import main, work
from nadir.stages.registering.redraw import work as redraw

SMALL = [
    "evaluate.cfg_scales=[3.5,4.5]",
    "evaluate.steps=2",
    "evaluate.width_px=32",
    "evaluate.height_px=32",
    "evaluate.seeds=[1,2]",
    "evaluate.holdout_prompts=2",
    "evaluate.loss_images=3",
    "evaluate.max_brightness_error=1.0",
    "compute.device=cpu",
]


@pytest.fixture(scope="module")
def models(tmp_path_factory, pytestconfig):
    params, folder = pytestconfig.rootpath / "params.yaml", tmp_path_factory.mktemp("models")
    write_base(folder / "base", params)
    facts = {"steps": 7, "images": 28, "original_size": [64, 48]}
    write_checkpoint(folder / "checkpoint", folder / "base", params, **facts)
    return folder


@pytest.fixture
def project(tmp_path, models, root, monkeypatch):
    for name in ("params.yaml", "dvc.yaml"):
        shutil.copy(root / name, tmp_path / name)
    shutil.copytree(models / "checkpoint", tmp_path / "models" / "checkpoint")
    write_holdout(tmp_path / "data", images=4)
    monkeypatch.chdir(tmp_path)
    set_values(SMALL)
    return tmp_path


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_every_output_is_there_and_a_second_run_gives_the_same_bytes(project, monkeypatch, capsys):
    events = project / "events.jsonl"
    monkeypatch.setenv(EVENTS_VARIABLE, str(events))
    main()
    first = hashes(project / "reports")
    names = {"evaluation.parquet", "evaluation.json", "evaluation.csv", "evaluation.html"}
    assert names < set(first)
    assert {"samples/grid.png", "samples/cfg-3.5.png", "samples/cfg-4.5.png"} < set(first)
    assert "verdict promote" in capsys.readouterr().out
    kinds = [event["kind"] for event in read_events(events)[0]]
    assert kinds[0] == "stage_started"
    assert kinds[-2:] == ["result", "stage_finished"]
    assert "progress" in kinds
    main()
    assert hashes(project / "reports") == first


def test_table_numbers_plot_and_report_agree(project):
    work()
    reports = project / "reports"
    numbers = json.loads((reports / "evaluation.json").read_text())
    table = pq.read_table(reports / "evaluation.parquet")
    assert table.schema.equals(EVALUATION)
    assert set(table["protocol_id"].to_pylist()) == {numbers["protocol_id"]}
    lines = (reports / "evaluation.csv").read_text().splitlines()
    header, *rows = [line.split(",") for line in lines]
    assert [row[0] for row in rows] == ["3.5", "4.5"]
    column = header.index("brightness_error")
    for row in rows:
        expected = numbers["cfg_scales"][row[0]]["brightness_error"]
        assert float(row[column]) == pytest.approx(expected, rel=1e-4)
    page = (reports / "evaluation.html").read_text()
    assert numbers["protocol_id"] in page
    assert len(page) < 20e6
    assert str(project) not in page
    assert Image.open(reports / "samples" / "grid.png").width > 500


def test_samples_of_an_earlier_run_do_not_stay(project):
    old = project / "reports" / "samples" / "cfg-9.png"
    old.parent.mkdir(parents=True)
    old.touch()
    work()
    assert not old.exists()


def test_no_hold_out_is_no_failure(project):
    shutil.rmtree(project / "data")
    write_holdout(project / "data", images=0)
    work()
    numbers = json.loads((project / "reports" / "evaluation.json").read_text())
    assert numbers["loss"] == {}
    assert numbers["gate"]["verdict"] == "promote"
    assert numbers["gate"]["checks"]["parameterisation"]["state"] == "skipped"


def test_a_missing_checkpoint_is_told_with_what_to_do(project, capsys):
    shutil.rmtree(project / "models" / "checkpoint")
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "no diffusers model here" in capsys.readouterr().err


def test_a_deciding_scale_that_is_not_drawn_is_refused_before_anything_is_drawn(project):
    text = (project / "params.yaml").read_text().replace("decision_cfg: 4.5", "decision_cfg: 5.0")
    (project / "params.yaml").write_text(text)
    with pytest.raises(NadirError, match=r"decision_cfg must be one of evaluate\.cfg_scales"):
        work()


def test_a_killed_evaluation_draws_only_the_rest_and_gives_the_same_bytes(project, monkeypatch):
    work()
    whole = hashes(project / "reports")
    shutil.rmtree(project / "reports")
    calls = []

    def killed_at(batch):
        real = generate._latents

        def drawn(*arguments):
            calls.append(batch)
            if len(calls) == batch:
                raise KeyboardInterrupt
            return real(*arguments)

        return drawn

    with monkeypatch.context() as patch:
        patch.setattr(generate, "_latents", killed_at(2))
        with pytest.raises(KeyboardInterrupt):
            work()
    assert not (project / "reports" / "evaluation.parquet").exists()
    (kept,) = (project / "work" / "evaluating").rglob("*.safetensors")
    calls.clear()
    with monkeypatch.context() as patch:
        patch.setattr(generate, "_latents", killed_at(99))
        work()
    assert len(calls) == 3, "the first scale was kept; the second has two other canvases"
    assert hashes(project / "reports") == whole
    assert not kept.exists(), "nothing is left when all is drawn"


def test_a_registered_checkpoint_is_drawn_by_the_plan_of_another(project, models, root):
    """The champion's noise and latent statistics are its own, the protocol is the challenger's."""
    work()
    protocol_id = json.loads((project / "reports" / "evaluation.json").read_text())["protocol_id"]
    other = project / "models" / "champion"
    shutil.copytree(project / "models" / "checkpoint", other)
    redraw(other, project / "models" / "checkpoint", "abc.dir")
    folder = project / "work" / "evaluations" / protocol_id / "abc"
    assert (folder / "samples" / "grid.png").is_file()
    drawn = pq.read_table(folder / "evaluation.parquet").drop_columns(["checkpoint"])
    own = pq.read_table(project / "reports" / "evaluation.parquet").drop_columns(["checkpoint"])
    assert drawn.equals(own), "the same weights"
    write_checkpoint(
        project / "models" / "older",
        models / "base",
        root / "params.yaml",
        scaling=LatentScaling("per_channel", (0.0,) * 4, (1.3, 0.8, 1.0, 0.9)),
    )
    redraw(project / "models" / "older", project / "models" / "checkpoint", "def.dir")
    assert (folder.parent / "def" / "evaluation.parquet").is_file(), "by the same protocol"
