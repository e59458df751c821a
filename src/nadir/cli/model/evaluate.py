"""`nadir evaluate`: any SDXL by the project's protocol, alone or beside another."""

from __future__ import annotations

import math
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nadir.cli.model.models import model_path
from nadir.ground.errors import NadirError

if TYPE_CHECKING:
    from nadir.config.evaluate import EvaluateParams
    from nadir.evaluation.others.model import OtherModel
    from nadir.evaluation.verdict.intervals import Interval


def evaluate(
    model: Annotated[
        str,
        typer.Argument(
            help="A .safetensors file, a diffusers folder, or models:/NAME@ALIAS.", metavar="MODEL"
        ),
    ],
    against: Annotated[
        str | None, typer.Option(help="Another model, drawn by the same protocol.", metavar="MODEL")
    ] = None,
    params: Annotated[
        Path, typer.Option(help="Where the section `evaluate` is.", metavar="FILE")
    ] = Path("params.yaml"),
    benchmark: Annotated[
        Path | None,
        typer.Option(
            help="A file of benchmarks/, instead of --params; prints its row.", metavar="FILE"
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(help="Where the reports go; old ones are replaced.", metavar="FOLDER")
    ] = Path("evaluation"),
) -> None:
    """Draw, measure and report on a model made anywhere, epsilon or v as its markers say.

    No project is needed beyond a parameter file with prompts. In a project whose VAE is the
    model's, pictures are set beside its held-out and training images.

    Examples:
      nadir evaluate other.safetensors
      nadir evaluate other.safetensors --against models:/nadir@champion
      nadir evaluate other.safetensors --benchmark benchmarks/brightness.yaml
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    from nadir.cli.model.benchmark import BenchmarkParams, row
    from nadir.config.evaluate import EvaluateParams
    from nadir.config.reader import read_section

    section = read_section("evaluate", EvaluateParams, benchmark or params)
    head = read_section("benchmark", BenchmarkParams, benchmark) if benchmark else None
    paths = {"model": model_path(model)} | ({"against": model_path(against)} if against else {})
    found = {name: _evaluated(path, section) for name, path in paths.items()}
    for name, one in found.items():
        _write(one, section, output / name)
        sys.stdout.write(f"{output / name / 'evaluation.html'}\n")
        if head is not None:
            sys.stdout.write(row(one, section, head))
    for old in ("comparison.json", "comparison.html"):
        (output / old).unlink(missing_ok=True)
    if "against" in found and against is not None:
        _compare(found, (against, model), section, output)


def _evaluated(path: Path, section: EvaluateParams) -> OtherModel:
    from nadir.compute.devices import pick_device
    from nadir.evaluation.others.model import evaluate_other
    from nadir.ground.workspace import project_root

    try:
        project = project_root()
    except NadirError:
        project = None
    return evaluate_other(path, section, project=project, device=str(pick_device("auto")))


def _write(one: OtherModel, section: EvaluateParams, folder: Path) -> None:
    """The stage's files, in a folder of their own."""
    import shutil

    from nadir.data.tables import write_table
    from nadir.evaluation.report.page import render_report
    from nadir.evaluation.report.samples import sample_sheets, write_samples
    from nadir.evaluation.results import EVALUATION, to_table
    from nadir.ground.files import write_json, write_text

    folder.mkdir(parents=True, exist_ok=True)
    rows = to_table(one.evaluation.rows, protocol_id=one.shared_id, checkpoint=one.weights)
    write_table(rows, folder / "evaluation.parquet", EVALUATION)
    write_json(folder / "evaluation.json", one.evaluation.as_json())
    page = render_report(
        one.evaluation, section, checkpoint=one.weights, training=dict(one.training)
    )
    write_text(folder / "evaluation.html", page)
    shutil.rmtree(folder / "samples", ignore_errors=True)
    write_samples(folder / "samples", sample_sheets(one.evaluation))


def _compare(
    found: dict[str, OtherModel], labels: tuple[str, str], section: EvaluateParams, output: Path
) -> None:
    """Print and keep how much better `model` is than `against`, by prompt and with intervals."""
    from nadir.evaluation.metrics import METRICS
    from nadir.evaluation.protocol import fixed_prompts
    from nadir.evaluation.report.comparison_page import render_comparison
    from nadir.evaluation.results import to_table
    from nadir.evaluation.verdict.comparison import improvements
    from nadir.ground.files import write_json, write_text

    both = [found["against"], found["model"]]
    before, after = (
        to_table(one.evaluation.rows, protocol_id=one.shared_id, checkpoint=one.weights).to_pandas()
        for one in both
    )
    gains = improvements(before, after, METRICS, cfg_scale=section.decision_cfg)
    kept = {name: _finite(vars(gain)) for name, gain in gains.items()}
    write_json(output / "comparison.json", kept)
    page = render_comparison(
        gains,
        labels,
        tables=[before, after],
        pictures=[output / name / "samples" for name in ("against", "model")],
        texts=fixed_prompts(section),
        cfg_scale=section.decision_cfg,
    )
    write_text(output / "comparison.html", page)
    sys.stdout.write(f"{output / 'comparison.html'}\n")
    sys.stdout.write(
        f"\nhow much better than --against, at CFG {section.decision_cfg:g} "
        "(95 % interval over prompts):\n"
    )
    for name, gain in gains.items():
        sys.stdout.write(_line(name, gain))


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    """None for the ends of an interval that one prompt alone cannot have."""
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _line(name: str, gain: Interval) -> str:
    state = "better" if gain.low > 0 else "worse" if gain.high < 0 else "not told apart"
    return f"  {name:<24} {gain.mean:+.4f}  {gain.low:+.4f} to {gain.high:+.4f}  {state}\n"
