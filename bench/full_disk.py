"""A disk that is full in each stage: the folders of a project are small disks of their own.

    python -m bench.full_disk [--stages ingest validate ...] [--folder KEPT]

The tests' miniature of the whole pipeline (60 pictures, 12 steps) lies on a tmpfs; `data`,
`models`, `reports`, `work`, DVC's cache, Prefect's folder and that for temporary files are further
ones. As soon as a stage has begun, one of them (or all) is made so small that nothing is free. The
run must end with one clear error, no process and no lock; the next one, with room again, completes
the stage before it meets the next full disk. In the end every output must be what a project on a
roomy disk has. Needs the right to mount. With --folder the undisturbed project of an earlier call
is used again.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from bench.results import ROOT, table, write_section
from tests.system.conftest import MINIATURE, NADIR, Project, copy_of_the_repository

from nadir.pipeline.processes.running import is_held
from nadir.pipeline.servers.temporary_server import temporary_server
from nadir.tracking.lock_file import output_hashes, read_lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

BASE, CACHE, PREFECT, TEMPORARY = ".", ".dvc/cache", "prefect-home", "temporary"
PLACES = (BASE, "data", "models", "reports", "work", CACHE, PREFECT, TEMPORARY)
ALL = "all of them"
CASES = {
    "start": (BASE, PREFECT, "work", ALL),
    "ingest": ("data", "work"),
    "validate": ("data", "reports", "work", TEMPORARY),
    "base_model": ("models", CACHE),
    "tag_statistics": ("data", "reports"),
    "bucket": ("data", BASE),
    "encode": ("data", "work", ALL),
    "latent_statistics": ("data",),
    "decoder": ("models",),
    "train": ("models", "work", CACHE, TEMPORARY, ALL),
    "evaluate": ("reports", "work", TEMPORARY),
    "register": ("work", BASE, ALL),
}
ROOMY_KIB = 4 << 20
# Names the training's run in MLflow, which is another each time.
OTHER = {"models/run.json"}
_POLL_S = 0.02
_PATIENCE_S = 60.0


class Disk:
    """A tmpfs whose size is changed while it is in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._mount("mount", "-t", "tmpfs", "-o", f"size={ROOMY_KIB}k", "nadir-bench", str(folder))
        (folder / ".filler").write_bytes(b"x" * 65536)  # a size of 0 would mean no limit

    def fill(self) -> None:
        """Make it so small that nothing is free, whatever is written meanwhile."""
        for _ in range(50):
            found = os.statvfs(self.folder)
            used_kib = (found.f_blocks - found.f_bfree) * found.f_frsize // 1024
            with contextlib.suppress(OSError):
                return self._resize(used_kib)
        raise RuntimeError(f"{self.folder}: written to all the time")

    def widen(self) -> None:
        """Make it roomy again."""
        self._resize(ROOMY_KIB)

    def close(self) -> None:
        """Take it away."""
        self._mount("umount", "-l", str(self.folder))

    def _resize(self, kib: int) -> None:
        self._mount("mount", "-o", f"remount,size={kib}k", str(self.folder))

    def _mount(self, *command: str) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise OSError(f"cannot mount here: {done.stderr.strip()}")


class Disks:
    """A project whose folders are disks."""

    def __init__(self, plain: Project, folder: Path, server: str) -> None:
        self.root = folder / "project"
        self.disks = {BASE: Disk(self.root)}
        shutil.copytree(plain.folder, self.root, symlinks=True, dirs_exist_ok=True)
        for place in PLACES[1:]:
            self.disks[place] = Disk(self.root / place)
        ignored = self.root / ".git/info/exclude"
        ignored.write_text(f"/{PREFECT}\n/{TEMPORARY}\n.filler\n", encoding="utf-8")
        self.project = Project(self.root)
        self._server = server

    def run(self, stage: str, place: str | None) -> subprocess.CompletedProcess[str]:
        """Run up to a stage; the place is full from the stage's start on, for `start` at once."""
        variables = {"PREFECT_API_URL": self._server}
        if stage == "start":
            variables = {"PREFECT_HOME": str(self.root / PREFECT)}
        variables |= {"TMPDIR": str(self.root / TEMPORARY)}
        until = {"start": "validate"}.get(stage, stage)
        (self.root / f"work/logs/{stage}.log").unlink(missing_ok=True)
        over = threading.Event()
        watch = threading.Thread(target=self._fill_when_begun, args=(stage, place, over))
        watch.start()
        try:
            return self.project.run(*NADIR, "run", "--until", until, **variables)
        finally:
            over.set()
            watch.join()
            for disk in self.disks.values():
                disk.widen()

    def left(self) -> str:
        """What is still there of a run that ended."""
        deadline = time.monotonic() + _PATIENCE_S
        while (found := self._processes()) and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        return "; ".join([*found, *["the workspace is held"] * is_held(self.root)])

    def close(self) -> None:
        """Take all disks away."""
        for disk in reversed(self.disks.values()):
            disk.close()

    def _fill_when_begun(self, stage: str, place: str | None, over: threading.Event) -> None:
        if place is None:
            return
        log = self.root / f"work/logs/{stage}.log"
        while stage not in {"start", "register"} and not log.exists():
            if over.wait(_POLL_S):
                return
        for name in PLACES if place == ALL else [place]:
            self.disks[name].fill()

    def _processes(self) -> list[str]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if Path(process.cwd()).is_relative_to(self.root):
                    found.append(" ".join(process.cmdline())[:80])
        return found


def told(text: str) -> str:
    """The error's own words, without the remedy."""
    found = re.search(r"^error: (.*)$", text, re.MULTILINE)
    words = found[1] if found else (text.strip().splitlines() or ["nothing"])[-1]
    return words.replace("|", "/")[:230]


def attempts(disks: Disks, cases: Sequence[tuple[str, str]]) -> Iterator[list[str]]:
    """A row for each full place: stage, place, whether it was one clear error, its words."""
    for stage, place in cases:
        if stage == "register":
            disks.run("evaluate", None)
        begun = time.monotonic()
        done = disks.run(stage, place)
        took_s = time.monotonic() - begun
        text = done.stdout + done.stderr
        clear = text.count("fix:") == 1 and "Traceback" not in text and "error: " in text
        verdict = "completes" if not done.returncode else "yes" if clear else "NO"
        left = disks.left()
        if verdict == "NO" or left:
            print(f"--- {stage}, {place}:\n{text[-5000:]}\nleft: {left}\n---", flush=True)
        words = told(text).replace(str(disks.root), "PROJECT") if done.returncode else ""
        print(f"{took_s:.0f} s", end=" ")
        yield [stage, place, verdict, left or "nothing", words]


def hashes(project: Project) -> dict[str, str]:
    """Of every output that is the same each time."""
    found = output_hashes(read_lock(project.folder))
    return {name: md5 for name, md5 in found.items() if name not in OTHER}


def undisturbed(folder: Path, until: str) -> tuple[Project, Project]:
    """A project before its first run, and one that was run; those of an earlier call are kept."""
    fresh, plain = Project(folder / "fresh"), Project(folder / "plain")
    if not fresh.folder.exists():
        made = copy_of_the_repository(fresh.folder)
        made.nadir("sample-data", "pictures", "--images", "60", "--seed", "3")
        made.nadir("params", "set", *MINIATURE)
        made.git("commit", "-q", "-am", "Miniature")
        shutil.copytree(fresh.folder, plain.folder, symlinks=True)
        plain.nadir("run", "--until", until)
    return fresh, plain


def measure(folder: Path, stages: Sequence[str]) -> tuple[list[list[str]], list[str]]:
    """The rows, and the outputs that differ in the end."""
    fresh, plain = undisturbed(folder, "register")
    cases = [(stage, place) for stage in stages for place in CASES[stage]]
    server = folder / "server"
    server.mkdir(exist_ok=True)
    os.environ["PREFECT_HOME"] = str(server)
    with temporary_server(server, say=print) as url, tempfile.TemporaryDirectory() as small:
        del os.environ["PREFECT_HOME"]
        disks = Disks(fresh, Path(small), url)
        try:
            rows = []
            for row in attempts(disks, cases):
                print(row, flush=True)
                rows.append(row)
            last = "register" if "register" in stages else stages[-1]
            done = disks.run(last, None)
            if done.returncode:
                raise RuntimeError(done.stdout + done.stderr)
            expected, found = hashes(plain), hashes(disks.project)
            return rows, [name for name, md5 in found.items() if md5 != expected[name]]
        finally:
            disks.close()


def record(rows: list[list[str]], stages: Sequence[str], other: list[str]) -> None:
    """Write the section of docs/results/full_disk.md."""
    ended = [row for row in rows if row[2] != "completes"]
    body = (
        f"{len(rows)} runs met a full disk; {sum(row[2] == 'yes' for row in ended)} of "
        f"{len(ended)} that failed ended with one clear error, and after "
        f"{sum(row[3] == 'nothing' for row in rows)} of all no process and no lock was left. With "
        f"room again the same command completed. Of the outputs of {len(stages)} stages, "
        f"{'none differs' if not other else 'these differ: ' + ', '.join(other)} from those of an "
        "undisturbed project, by the hashes of `dvc.lock` (without `models/run.json`, which names "
        "the run in MLflow).\n\n"
    )
    header = ["full from its start on", "folder", "one clear error", "left", "what it says"]
    path = ROOT / "docs" / "results" / "full_disk.md"
    write_section(path, "# A full disk in each stage", "by folder", body + table(header, rows))


def main() -> None:
    """Measure in a temporary folder, or in one that is kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--stages", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--folder", type=Path, help="where projects of an earlier call are")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nadir-disk-") as folder:
        rows, other = measure((asked.folder or Path(folder)).resolve(), asked.stages)
    print(f"other: {other}")
    record(rows, [stage for stage in asked.stages if stage != "start"], other)


if __name__ == "__main__":
    main()
