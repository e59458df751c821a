"""A second run where nothing is new, beside `dvc repro`: CPU of all processes, and wall time.

In a project that has been run (`--project`, this one by default), in turn, so that other work on
the machine meets all commands alike. Writes "A run without news" of docs/performance.md.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.performance import write
from bench.results import ROOT, table

COMMANDS = {
    "dvc repro": ["-m", "dvc", "repro", "--quiet"],
    "nadir run": ["-c", "from nadir.cli import main; main()", "run"],
    "nadir status": ["-c", "from nadir.cli import main; main()", "status"],
}


def measure(command: list[str], project: Path) -> tuple[float, float]:
    """CPU seconds of the command and all it started, and seconds of wall time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # `python` of dvc.yaml
    own = {"PATH": path, "PYTHONPATH": str(project / "src"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command],
        cwd=project,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} failed in {project}:\n{done.stdout}{done.stderr}")
    wall, after = time.monotonic() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, wall


def main() -> None:
    """Measure, print and write the section."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", type=Path, default=ROOT, help="one that has been run")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    project = options.project.resolve()
    for command in COMMANDS.values():  # the first run after news still asks the registry
        measure(command, project)
    rounds = [
        {name: measure(command, project) for name, command in COMMANDS.items()}
        for _ in range(options.rounds)
    ]
    rows = []
    for name in COMMANDS:
        cpu, wall = (statistics.median(r[name][i] for r in rounds) for i in (0, 1))
        ratios = sorted(r[name][0] / r["dvc repro"][0] for r in rounds)
        spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        rows.append([f"`{name}`", f"{cpu:.1f}", f"{wall:.1f}", spread])
    header = ["command", "CPU, s", "wall, s", "CPU beside `dvc repro` (lowest to highest)"]
    text = f"Medians of {options.rounds} rounds, one thread each."
    write("A run without news", f"{text}\n\n{table(header, rows)}")


if __name__ == "__main__":
    main()
