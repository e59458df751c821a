"""What it costs to start a stage: CPU seconds of its imports, beside another build.

    python -m bench.process_starts --before CHECKOUT

`CHECKOUT` is a worktree of the build to compare with, and has a `.venv` of its own. The two take
turns; the best of the rounds counts. Writes "Process starts" of docs/performance.md.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.performance import write
from bench.results import ROOT, table

STAGES = (
    *("ingest", "validate", "tag_statistics", "bucket", "base_model", "encode"),
    *("latent_statistics", "decoder", "train", "evaluate"),
)
TRAINER = "trainer"
LAUNCH = "one training process: launcher"
DVC = "ten DVC commands of a run"
BARE = "python -c 'import sqlite3, json'"


def cpu_seconds(python: Path, line: list[str], folder: Path) -> float:
    """CPU seconds of one Python process and all that it starts."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, *line], cwd=folder, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def lines() -> dict[str, list[str]]:
    """What is started, by what it is called."""
    modules = {name: f"nadir.stages.{name}" for name in STAGES} | {TRAINER: "nadir.training.main"}
    # As `python -m` leaves it while it looks for a module, whose processes load otherwise.
    begun = {
        name: ["-c", f"import sys; sys.argv = ['-m']; import {modules[name]}"] for name in modules
    }
    return {**begun, BARE: ["-c", "import sqlite3, json"]}


def launcher_seconds(python: Path, folder: Path) -> float:
    """CPU seconds between the stage `train` and its trainer: of a launcher that starts nothing."""
    line = ["-m", "accelerate.commands.launch", "--quiet", "--num_processes", "1"]
    line += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    started = cpu_seconds(python, [*line, "-m", "this"], folder)
    return started - cpu_seconds(python, ["-m", "this"], folder)


PROJECT = """
stages:
  one:
    cmd: echo 1 > one
    outs: [one]
"""
# A program each, as a command line starts them, and as a run of the pipeline does.
STARTED = """
import subprocess, sys
for _ in range(10):
    line = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", "--single-item", "one"]
    subprocess.run(line, check=True)
"""
FORKED = """
from pathlib import Path
from nadir.pipeline.processes.process import run_dvc
nothing = lambda *_: None
for _ in range(10):
    assert not run_dvc(["repro", "--single-item", "one"], Path.cwd(), environment={},
                       log=Path("log"), on_line=nothing, on_tick=nothing)
"""


def dvc_seconds() -> tuple[float, float]:
    """CPU seconds of ten DVC commands that find nothing to do: programs, and forked."""
    python = Path(sys.executable)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "dvc.yaml").write_text(PROJECT, encoding="utf-8")
        for line in (["git", "init"], [python, "-m", "dvc", "init"]):
            subprocess.run([*line, "--quiet"], cwd=root, check=True)
        cpu_seconds(python, ["-c", FORKED], root)
        return cpu_seconds(python, ["-c", STARTED], root), cpu_seconds(python, ["-c", FORKED], root)


def main() -> None:
    """Measure and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, required=True, help="a checkout with its .venv")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    builds = {options.before / ".venv/bin/python": options.before, Path(sys.executable): ROOT}
    rows = []
    for name, line in lines().items():
        rounds = [
            [cpu_seconds(python, line, folder) for python, folder in builds.items()]
            for _ in range(options.rounds)
        ]
        before, after = (min(times) for times in zip(*rounds, strict=True))
        rows.append([f"`{name}`", f"{before:.2f}", f"{after:.2f}", f"{after / before:.2f}"])
    started, forked = dvc_seconds()
    ratio = f"{forked / started:.2f}"
    rows.insert(-1, [DVC, f"{started:.2f}", f"{forked:.2f}", ratio])
    launcher = min(launcher_seconds(Path(sys.executable), ROOT) for _ in range(options.rounds))
    rows.insert(-1, [LAUNCH, f"{launcher:.2f}", "not started", ""])
    header = ["import of stage", "before, CPU s", "now, CPU s", "ratio"]
    write("Process starts", f"Best of {options.rounds}.\n\n{table(header, rows)}\n\n{TEXT}")


TEXT = """The stages `train` and `encode` load PyTorch and diffusers only where something is
trained or an image has no latent yet; the encoder's hash is remembered by the hash of the VAE's
files. `latent_statistics` adds up in NumPy. One training process is started without
`accelerate launch`, with the environment that the launcher would give it. The DVC commands of a run
are forked off one process that has loaded DVC, the loading of which is counted here."""


if __name__ == "__main__":
    main()
