"""Too little memory in each stage: its processes get half of what they take.

    python -m bench.memory_limit [--stages validate encode ...]

The tests' miniature of the whole pipeline (60 pictures, 12 steps). As soon as a stage's own process
is there, it goes into a cgroup, and with it all that it starts; in a first run only the most that
they take is noted, in a second one half of that is the limit, beyond which the system kills. That
run must end with one clear error, no process and no lock; the next one, without a limit, completes
the stage before it meets the next limit. In the end every output must be what an undisturbed
project has. Needs root and version 1 of the cgroup memory controller.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from bench.full_disk import hashes, told
from bench.results import ROOT, table, write_section
from tests.system.conftest import MINIATURE, NADIR, Project, copy_of_the_repository

from nadir.pipeline.processes.running import is_held

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence

CONTROLLER = Path("/sys/fs/cgroup/memory")
STAGES = (
    *("ingest", "validate", "base_model", "tag_statistics", "bucket", "encode"),
    *("latent_statistics", "train", "evaluate"),
)
SHARE = 0.5
_POLL_S = 0.005
_PATIENCE_S = 60.0


class Group:
    """A cgroup for one stage of one run.

    Args:
        limit: Bytes; None is no limit.
    """

    def __init__(self, limit: int | None) -> None:
        self.folder = CONTROLLER / f"nadir-bench-{time.monotonic_ns()}"
        self.folder.mkdir()
        if limit:
            (self.folder / "memory.limit_in_bytes").write_text(str(limit))

    def add(self, process: psutil.Process) -> None:
        """Take a process in; those that it starts from now on are in, too."""
        with contextlib.suppress(OSError, psutil.Error):
            (self.folder / "cgroup.procs").write_text(str(process.pid))

    @property
    def peak(self) -> int:
        """The most that it had, bytes."""
        return int((self.folder / "memory.max_usage_in_bytes").read_text())

    def close(self) -> None:
        """Take it away."""
        self.folder.rmdir()


def run(
    project: Project, stage: str, limit: int | None
) -> tuple[subprocess.CompletedProcess[str], int]:
    """Run up to a stage, which has so much memory; and the most that it had."""
    group, over = Group(limit), threading.Event()
    watch = threading.Thread(target=_take_in, args=(group, project, stage, over))
    watch.start()
    try:
        done = project.run(*NADIR, "run", "--until", stage)
    finally:
        over.set()
        watch.join()
    deadline = time.monotonic() + _PATIENCE_S
    while _processes(project) and time.monotonic() < deadline:
        time.sleep(_POLL_S)
    peak = group.peak
    group.close()
    return done, peak


def _take_in(group: Group, project: Project, stage: str, over: threading.Event) -> None:
    word = f"nadir.stages.{stage}"
    while not over.wait(_POLL_S):
        for process in _processes(project):
            with contextlib.suppress(psutil.Error):
                # The shell that starts it has the same words in one.
                if word in process.cmdline():
                    group.add(process)
                    return


def _processes(project: Project) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if Path(process.cwd()).is_relative_to(project.folder):
                found.append(process)
    return found


def left(project: Project) -> str:
    """What is still there of a run that ended."""
    words = [" ".join(process.cmdline())[:80] for process in _processes(project)]
    return "; ".join([*words, *["the workspace is held"] * is_held(project.folder)])


def measure(folder: Path, stages: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The rows, and the outputs that differ in the end."""
    fresh, plain = Project(folder / "fresh"), Project(folder / "plain")
    made = copy_of_the_repository(fresh.folder)
    made.nadir("sample-data", "pictures", "--images", "60", "--seed", "3")
    made.nadir("params", "set", *MINIATURE)
    made.git("commit", "-q", "-am", "Miniature")
    shutil.copytree(fresh.folder, plain.folder, symlinks=True)
    rows = []
    for stage in stages:
        done, peak = run(plain, stage, None)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        done, _ = run(fresh, stage, int(SHARE * peak))
        text = done.stdout + done.stderr
        clear = text.count("fix:") == 1 and "Traceback" not in text and "error: " in text
        verdict = "completes" if not done.returncode else "yes" if clear else "NO"
        words = told(text).replace(str(fresh.folder), "PROJECT") if done.returncode else ""
        rows.append([stage, f"{peak >> 20}", verdict, left(fresh) or "nothing", words])
        print(rows[-1], flush=True)
        if verdict == "NO":
            print(text[-5000:], flush=True)
    done = fresh.run(*NADIR, "run", "--until", stages[-1])
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    expected, found = hashes(plain), hashes(fresh)
    return rows, [name for name, md5 in found.items() if md5 != expected[name]]


def main() -> None:
    """Measure and write docs/results/memory_limit.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES)
    asked = parser.parse_args()
    if not CONTROLLER.is_dir():
        sys.exit(f"skipped: no {CONTROLLER}, version 1 of the memory controller")
    with tempfile.TemporaryDirectory(prefix="nadir-memory-") as folder:
        rows, other = measure(Path(folder), asked.stages)
    ended = [row for row in rows if row[2] != "completes"]
    body = (
        f"Each stage's processes had half of the memory that they take once they have started. "
        f"{sum(row[2] == 'yes' for row in ended)} of {len(ended)} runs that failed ended with one "
        f"clear error; after {sum(row[3] == 'nothing' for row in rows)} of all {len(rows)} no "
        "process and no lock was left. Without the limit the same command completed. Of the "
        f"outputs {'none differs' if not other else 'these differ: ' + ', '.join(other)} from "
        "those of an undisturbed project (without `models/run.json`, which names the run in "
        "MLflow).\n\n"
    )
    header = ["stage", "takes, MiB", "one clear error", "left", "what it says"]
    path = ROOT / "docs" / "results" / "memory_limit.md"
    write_section(
        path, "# Too little memory in each stage", "half of it", body + table(header, rows)
    )


if __name__ == "__main__":
    main()
