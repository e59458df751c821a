"""What DVC does beside a stage, where it writes `dvc.lock` itself and where the run does.

    python -m bench.lock_entries PROJECT [--stage bucket] [--rounds 3]

PROJECT is a clone with a finished run. The stage is run again and again, in turns, by commands that
are forked off one process that has DVC loaded, as a run of the pipeline gives them. What counts is
DVC's own CPU time, without the stage's; `dvc.lock` must be the same after each.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from bench.results import table

from nadir.pipeline.processes.dvc_launcher import load_dvc
from nadir.pipeline.processes.lock_entries import write_entries_alone


def own_s(stage: str, *, alone: bool) -> float:
    """CPU seconds of one forked command."""
    reader, writer = os.pipe()
    if (pid := os.fork()) == 0:
        silence = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silence, stream)
        from dvc.cli import main as dvc

        if alone:
            write_entries_alone()
        begun = time.process_time()
        code = dvc(["repro", "--force", "--single-item", stage])
        os.write(writer, str(time.process_time() - begun).encode())
        os._exit(code)
    os.close(writer)
    with os.fdopen(reader) as told:
        text = told.read()
    if os.waitpid(pid, 0)[1]:
        raise SystemExit(f"`dvc repro --single-item {stage}` failed")
    return float(text)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", type=Path)
    parser.add_argument("--stage", default="bucket")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    os.chdir(asked.project)
    load_dvc()
    lock = Path("dvc.lock").read_bytes()
    least = {"DVC": float("inf"), "the run": float("inf")}
    for _ in range(asked.rounds):
        for who, before in least.items():
            least[who] = min(before, own_s(asked.stage, alone=who == "the run"))
            if Path("dvc.lock").read_bytes() != lock:
                raise SystemExit(f"dvc.lock is another after {who} wrote it")
    rows = [[who, f"{seconds:.2f}"] for who, seconds in least.items()]
    lines = lock.count(b"\n")
    print(table([f"`dvc.lock` of {lines:,} lines written by", "DVC's own CPU, s"], rows))


if __name__ == "__main__":
    main()
