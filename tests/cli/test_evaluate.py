"""`nadir evaluate`: a model made elsewhere by the project's protocol, alone or beside another."""

from __future__ import annotations

import json
import shutil

import pytest
import typer
from diffusers import StableDiffusionXLPipeline
from tests.support.small_checkpoint import write_base
from typer.testing import CliRunner

from nadir.cli.model.benchmark import BenchmarkParams
from nadir.cli.model.evaluate import evaluate
from nadir.config.edit import set_values
from nadir.config.evaluate import EvaluateParams
from nadir.config.reader import read_section
from nadir.evaluation.metrics import METRICS
from nadir.ground.errors import NadirError
from nadir.model.load import load_checkpoint_info
from nadir.model.single_file.writing import export_single_file

SETTINGS = [
    "evaluate.cfg_scales=[4.5]",
    "evaluate.steps=2",
    "evaluate.width_px=32",
    "evaluate.height_px=32",
    "evaluate.seeds=[1,2]",
    "evaluate.canvases=[[48,24]]",
]


@pytest.fixture(scope="module")
def stock(tmp_path_factory, pytestconfig):
    """An epsilon SDXL folder as diffusers writes it, with no word of Nadir."""
    params, folder = pytestconfig.rootpath / "params.yaml", tmp_path_factory.mktemp("stock")
    write_base(folder / "base", params)
    StableDiffusionXLPipeline.from_pretrained(folder / "base").save_pretrained(folder / "stock")
    return folder / "stock"


@pytest.fixture
def run(tmp_path, root, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text((root / "params.yaml").read_text())
    set_values(SETTINGS)
    app = typer.Typer()
    app.command()(evaluate)

    def call(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments], catch_exceptions=True)
        if isinstance(result.exception, NadirError):
            raise result.exception
        assert result.exit_code == 0, result.output
        return result.stdout

    return call


def test_a_stock_epsilon_folder_is_evaluated_beside_a_checkpoint_of_v(
    run, stock, checkpoint, tmp_path
):
    said = run(stock, "--against", checkpoint)
    assert load_checkpoint_info(stock).noise["prediction"] == "epsilon"
    for name in ("model", "against"):
        folder = tmp_path / "evaluation" / name
        numbers = json.loads((folder / "evaluation.json").read_text())["cfg_scales"]["4.5"]
        assert {"brightness_error", "ladder_slope", "canvas_error"} <= set(numbers)
        assert (folder / "evaluation.html").is_file()
        assert (folder / "samples" / "grid.png").is_file()
    gains = json.loads((tmp_path / "evaluation" / "comparison.json").read_text())
    assert {"brightness_error", "ladder_error", "diversity"} <= set(gains)
    assert "brightness_error" in said
    assert "95 % interval over prompts" in said
    page = (tmp_path / "evaluation" / "comparison.html").read_text(encoding="utf-8")
    assert page.count('type="range"') == 4 * 2, "four prompts, two seeds"
    assert "comparison.html" in said


def test_a_model_is_no_better_than_itself(run, stock, tmp_path):
    run(stock, "--against", stock, "--output", "twice")
    gains = json.loads((tmp_path / "twice" / "comparison.json").read_text())
    assert gains
    assert all(gain["mean"] == 0 for gain in gains.values())


def test_a_single_file_is_what_its_folder_is(run, checkpoint, tmp_path):
    export_single_file(checkpoint, tmp_path / "it.safetensors", precision="fp32")
    for part in ("tokenizer", "tokenizer_2"):
        shutil.copytree(checkpoint / part, tmp_path / part)
    run("it.safetensors", "--against", checkpoint)
    gains = json.loads((tmp_path / "evaluation" / "comparison.json").read_text())
    assert all(abs(gain["mean"]) < 0.01 for gain in gains.values())


def test_without_a_project_it_says_what_did_not_run(run, stock, tmp_path):
    run(stock)
    page = (tmp_path / "evaluation" / "model" / "evaluation.html").read_text()
    assert "Tag recall" in page
    assert "it needs 16 held-out and 48 training images" in page.replace("It needs", "it needs")
    assert not (tmp_path / "evaluation" / "comparison.json").exists()


def test_what_is_no_model_is_told(run, tmp_path):
    with pytest.raises(NadirError, match="no such model"):
        run(tmp_path / "missing.safetensors")


def test_a_benchmark_prints_its_row(run, stock, checkpoint, root, tmp_path):
    file = root / "benchmarks" / "brightness.yaml"
    small = file.read_text().replace("1024\n", "32\n").replace("steps: 28", "steps: 2")
    small = small.replace("[[1344, 768], [768, 1344]]", "[[48, 24]]")
    small = small.replace("[1, 2, 3, 4, 5, 6, 7, 8]", "[1, 2]")
    (tmp_path / "small.yaml").write_text(small)
    lines = run(stock, "--against", checkpoint, "--benchmark", "small.yaml").splitlines()
    rows = [line for line in lines if line.startswith("brightness 1, weights ")]
    assert len(rows) == 2
    assert len({row.partition("protocol ")[2].partition(":")[0] for row in rows}) == 1
    for name in ("ladder_error", "ladder_slope", "canvas_error", "terminal_canvas", "mean_leak"):
        assert all(f"{name} " in row for row in rows)
    assert "not run" not in rows[1]
    with pytest.raises(NadirError, match="benchmark"):
        run(stock, "--benchmark", "params.yaml")


@pytest.mark.parametrize("name", ["brightness", "tags"])
def test_the_benchmarks_are_valid_and_report_what_is_measured(root, name):
    file = root / "benchmarks" / f"{name}.yaml"
    head = read_section("benchmark", BenchmarkParams, file)
    section = read_section("evaluate", EvaluateParams, file)
    assert head.name == name
    assert section.decision_cfg in section.cfg_scales
    known = {metric.name for metric in METRICS} | {
        "ladder_slope", "ladder_range", "tag_recall_head", "tag_recall_tail"
    }  # fmt: skip
    assert set(head.report) <= known
