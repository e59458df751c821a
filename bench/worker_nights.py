"""Ten nights of a deployment, run by one real worker against the whole server stack.

    python -m bench.worker_nights [--nights 10]

The tests' small project runs as a deployment: Postgres, S3 store, MLflow and Prefect's server and
worker are those of `make stack`. Each night has new data and makes a new version. After each the
worker and the servers are looked at: processes, file handles, listening ports, memory, temporary
files, and the disk of clone, databases and store. `nadir clean --keep-days 0` comes last, and every
file of the registered versions' weights must still be there.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from bench.results import ROOT, table, write_section
from bench.worker_kills import complete
from bench.worker_project import Project, worker

from nadir.pipeline.storage.objects import cache_folder, object_path, objects_of
from nadir.tracking.lineage import OUTPUT_TAG

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = ROOT / "docs" / "results" / "ten_nights.md"
CLONE = (".dvc/cache", "work", ".git")
# What libraries load and open once is there after the second night.
FIRST_COMPARED = 2


def kib(place: Path) -> int:
    """Room on disk, a file of several names counted once."""
    files = [path.lstat() for path in place.rglob("*")]
    return sum({f.st_ino: f.st_blocks for f in files}.values()) // 2


def look(project: Project, temporary: Path) -> dict[str, int]:
    """What there is between two runs."""
    keeper = worker(project.stack)
    starter = project.stack.process
    if keeper is None or starter is None:
        raise RuntimeError("the worker is gone")
    every = [psutil.Process(starter.pid), *psutil.Process(starter.pid).children(recursive=True)]
    # Postgres ends and starts processes of its own as connections come and go.
    postgres = {process.pid for process in project.stack.members("postgres")}
    found = {
        "processes below the worker": len(keeper.children(recursive=True)),
        "processes of the stack without Postgres": len([p for p in every if p.pid not in postgres]),
        "listening ports": _ports(every),
        "file handles of the worker": keeper.num_fds(),
        "memory of the worker, MiB": _mib([keeper]),
    }
    for name in ("prefect", "mlflow", "s3"):
        members = project.stack.members(name)
        found[f"file handles, {name}"] = sum(member.num_fds() for member in members)
        found[f"memory, {name}, MiB"] = _mib(members)
    found["temporary files"] = len(list(temporary.iterdir()))
    return found


def disk(project: Project) -> dict[str, int]:
    """KiB of the clone's places, the databases and the store."""
    found = {f"the clone's {name}": kib(project.root / name) for name in CLONE}
    for name in ("mlflow", "prefect"):
        ((size,),) = project.stack.rows(name, f"select pg_database_size('{name}')")
        found[f"database {name}"] = size >> 10
    return found | {"servers' files": kib(project.stack.state)}


def _mib(processes: Iterable[psutil.Process]) -> int:
    return sum(process.memory_info().rss for process in processes) >> 20


def _ports(processes: Iterable[psutil.Process]) -> int:
    connections = [c for process in processes for c in process.net_connections()]
    return len({c.laddr for c in connections if c.status == psutil.CONN_LISTEN})


def nights(project: Project, count: int, temporary: Path) -> list[dict[str, Any]]:
    """Run so many; what there is after each."""
    seen = []
    for number in range(1, count + 1):
        project.stack.project.source(f"pictures of night {number}")
        project.git("commit", "-qam", f"Night {number}")
        _, took_s = complete(project)
        seen.append({"counts": look(project, temporary), "disk": disk(project)})
        print(f"night {number}: {took_s:.0f} s, {seen[-1]}", flush=True)
    return seen


def cleaned(project: Project) -> tuple[dict[str, int], int]:
    """Clean, see that every version's weights are there; the disk then, and the versions."""
    with_login = {**project.stack.login, **project.stack.s3}
    program = str(Path(sys.executable).with_name("nadir"))
    words = [f"{name}={value}" for name, value in with_login.items()]
    printed = project.stack.project.command("env", *words, program, "clean", "--keep-days", "0")
    print(printed, flush=True)
    query = "select value from model_version_tags where name = '{}' and key = '{}'"
    versions = project.stack.rows("mlflow", query.format(project.model, OUTPUT_TAG))
    cache = cache_folder(project.root)
    for (md5,) in versions:
        objects = objects_of(md5, cache)
        if not objects or not all(object_path(each, cache).is_file() for each in objects.values()):
            raise RuntimeError(f"a version's weights are gone: {md5}")
    return disk(project), len(versions)


def record(seen: list[dict[str, Any]], after: dict[str, int], versions: int) -> None:
    """Write the section of the page."""
    last = len(seen)
    shown = sorted({1, FIRST_COMPARED, (1 + last) // 2, last})
    rows = [
        [name, *(str(seen[n - 1]["counts"][name]) for n in shown)] for name in seen[0]["counts"]
    ]
    counts = table(["after night", *(str(n) for n in shown)], rows)
    rows = []
    for name, left in after.items():
        first, end = seen[FIRST_COMPARED - 1]["disk"][name], seen[-1]["disk"][name]
        a_night = f"{(end - first) / max(last - FIRST_COMPARED, 1):.0f}"
        rows.append([name, str(seen[0]["disk"][name]), str(end), a_night, str(left)])
    header = ["KiB on disk", "night 1", f"night {last}", "a night", "cleaned"]
    body = (
        "The tests' small project as a deployment that one worker runs; each night commits new "
        f"data and registers a version.\n\n{counts}\n\n{table(header, rows)}\n\n"
        f"`nadir clean --keep-days 0` in the clone left the weights of all {versions} versions "
        "where they were. It does not touch servers."
    )
    write_section(PAGE, "", "a worker on the server stack", body)


def main() -> None:
    """Start the stack, run the nights, clean, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--nights", type=int, default=10)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nadir-nights-") as folder:
        temporary = Path(folder) / "tmp"
        temporary.mkdir()
        # Root's Postgres is another user, who reads its password there.
        Path(folder).chmod(0o711)
        temporary.chmod(0o1777)
        os.environ["TMPDIR"] = str(temporary)
        project = Project(Path(folder) / "clone")
        try:
            project.stack.start()
            project.renew()
            with project.client():
                seen = nights(project, asked.nights, temporary)
            after, versions = cleaned(project)
        except BaseException:
            sys.stderr.write(project.stack.log.read_text(errors="replace")[-8000:])
            raise
        finally:
            project.stack.remove()
    record(seen, after, versions)


if __name__ == "__main__":
    main()
