"""`nadir train --check`: does the training run here, before it is left alone for hours."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from nadir.ground import artifacts
from nadir.ground.errors import NadirError
from nadir.ground.workspace import project_root

_NEEDED = (artifacts.LATENTS / "index.parquet", artifacts.TAGS, artifacts.BASE)


def train(
    check: Annotated[
        bool, typer.Option("--check", help="Two steps, a save, a resume and a comparison.")
    ] = False,
) -> None:
    """Check the training on the real data and parameters, and change nothing.

    It makes the first two steps, saves after the first, makes the second again from the checkpoint
    and compares every tensor to the bit. Outputs, MLflow and a training under way stay as they are.

    Examples:
      nadir train --check
    """
    if not check:
        raise NadirError(
            "`nadir train` only checks",
            where="nadir train",
            fix="`nadir train --check`; to train, use `nadir run`",
        )
    root = project_root()
    os.chdir(root)
    for name in _NEEDED:
        if not (root / name).exists():
            raise NadirError(
                f"{name} is missing",
                where=str(root),
                fix="`dvc repro tag_statistics latent_statistics` makes what training reads",
            )
    sys.stdout.write(_table(_measure()))


def _measure() -> dict[str, Any]:
    from nadir.config.compute import ComputeParams
    from nadir.config.reader import read_section
    from nadir.config.train import TrainParams
    from nadir.ground.files import read_json
    from nadir.ground.workspace import main_workspace, work_folder
    from nadir.planning.measured import keep_measured
    from nadir.training.launcher import launch
    from nadir.training.run_files import CHECK, OUTPUT

    params = read_section("train", TrainParams)
    # Beside real trainings: a checkpoint must fit on this very disk.
    with tempfile.TemporaryDirectory(prefix="check-", dir=work_folder(".")) as folder:
        launch(
            Path(folder),
            "check",
            compute=read_section("compute", ComputeParams),
            mixed_precision=params.mixed_precision,
            environment={"NADIR_REPORTER": ""},
            arguments=["--check"],
        )
        facts: dict[str, Any] = read_json(Path(folder) / OUTPUT / CHECK)
    keep_measured(main_workspace(), params, facts)
    return facts | {"planned_steps": params.steps}


def _table(facts: dict[str, Any]) -> str:
    from nadir.cli.dataset.latents import readable_size

    memory = f"{readable_size(facts['peak_bytes'])} of main memory"
    if "peak_gpu_bytes" in facts:
        memory = f"{readable_size(facts['peak_gpu_bytes'])} on the GPU, {memory}"
    rows = [
        ("data", f"{facts['images']} images in {facts['buckets']} buckets"),
        ("device", f"{facts['processes']} x {facts['device']}"),
        *((f"step {n}", _step(step)) for n, step in enumerate(facts["steps"], 1)),
        ("trained", f"{facts['changed_tensors']} of {facts['trained_tensors']} tensors changed"),
        ("save", f"{readable_size(facts['save_bytes'])}, {facts['save_s']:.2f} s"),
        ("resume", f"{facts['resume_s']:.2f} s with loading the base"),
        ("comparison", f"{facts['compared_tensors']} tensors and values, all equal to the bit"),
        ("peak memory", f"{memory}, of each process"),
        ("whole run", _whole(facts)),
    ]
    width = max(len(name) for name, _ in rows)
    return "".join(f"{name:<{width}}  {text}\n" for name, text in rows)


def _step(step: dict[str, float]) -> str:
    return (
        f"loss {step['loss']:.4f}, gradient norm {step['gradient_norm']:.3g}, "
        f"{step['seconds']:.2f} s"
    )


def _whole(facts: dict[str, Any]) -> str:
    seconds = facts["planned_steps"] * facts["steps"][-1]["seconds"]
    told = f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds / 60:.1f} min"
    return f"{facts['planned_steps']} steps, {told} at the pace of step 2"
