"""kill -9 at drawn moments of a real worker's flow, against the whole server stack.

    python -m bench.worker_kills [--times 20] [--seed 1] [--rows FILE]

The tests' small project runs as a deployment: Postgres, S3 store, MLflow and Prefect's server and
worker are those of `make stack`. Killed are, in turn, the flow's process alone, the flow with all
below it, and the worker with its flow and all below it; of each kind every other kill waits until a
drawn stage's own process is there, which else few would hit. After each kill no process may be left
and the workspace must be free; the deployment's next run completes, and what it leaves is compared
with what an undisturbed run leaves. Prefect must show the killed run as crashed: by the worker, or,
where that was killed too, by docs/dead_run_automation.yaml, whose ten minutes are made one here.
With --rows each kill is added to that file at once, and those of earlier calls are counted too.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from bench.results import ROOT, table, write_section
from bench.worker_project import Project, flow, worker
from prefect.client.orchestration import get_client
from ruamel.yaml import YAML

from nadir.pipeline.processes.running import is_held

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

KINDS = ("the flow alone", "the flow and all below it", "the worker, its flow and all below it")
PATIENCE_S = 600.0
DEAD_AFTER_S = 60
# Those with a process of their own, and how long after its start it is killed, at the most.
STAGES = ("ingest", "encode", "train", "evaluate")
IN_STAGE_S = 1.0
_POLL_S = 0.2
_STAGE_POLL_S = 0.01
_YAML = YAML(typ="safe")


def until(condition: Callable[[], Any], what: str) -> Any:
    """What a condition gives once it gives something."""
    deadline = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(_POLL_S)
    return found


def begin() -> UUID:
    """A run of the deployment."""
    with get_client(sync_client=True) as client:
        deployment = client.read_deployment_by_name("training-pipeline/nightly")
        return client.create_flow_run_from_deployment(deployment.id).id


def complete(project: Project) -> tuple[dict[str, Any], float]:
    """Run to the end; what it leaves, and the seconds its process was there."""
    run = begin()
    until(lambda: flow(project.stack), "the flow starts")
    begun = time.monotonic()
    until(lambda: flow(project.stack) is None, "the flow ends")
    took_s = time.monotonic() - begun
    until(lambda: project.state(run) not in {"RUNNING", "PENDING"}, "the flow's end is known")
    if project.state(run) != "COMPLETED":
        raise RuntimeError(f"{project.state(run)}: {project.stack.log.read_text()[-6000:]}")
    return project.left(), took_s


def doing(family: list[psutil.Process]) -> str:
    """Which stage was at work."""
    for process in family:
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "steps.py" in words:
                return words[words.index("steps.py") + 1]
    return "between stages"


def kill(
    project: Project, kind: str, stage: str | None, after_s: float
) -> tuple[UUID, str, float] | None:
    """Begin and kill so many seconds after the flow's process, or a stage's, is there.

    Returns:
        The run, what was at work, and the seconds until the workspace was free; None where the flow
        had ended before.
    """
    run = begin()
    process = until(lambda: flow(project.stack), "the flow starts")
    family: list[psutil.Process] = []
    try:
        if stage:
            _await_stage(process, stage)
        time.sleep(after_s)
        process.suspend()
        family = process.children(recursive=True)
        at_work = doing(family)
        keeper = worker(project.stack) if kind == KINDS[2] else None
        victims = [process] if kind == KINDS[0] else [process, *family]
        for victim in [*([keeper] if keeper else []), *victims]:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
    except psutil.NoSuchProcess:
        return None
    begun = time.monotonic()
    _, alive = psutil.wait_procs([process, *family], timeout=PATIENCE_S)
    if alive:
        raise RuntimeError(f"left: {alive}")
    until(lambda: not is_held(project.root), "the workspace is free")
    if project.state(run) == "COMPLETED":
        return None
    return run, at_work, time.monotonic() - begun


def _await_stage(process: psutil.Process, stage: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while doing(process.children(recursive=True)) != stage:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{stage} begins")
        time.sleep(_STAGE_POLL_S)


def await_crashed(project: Project, run: UUID, how: str) -> None:
    """Wait until Prefect shows a run as crashed."""
    until(lambda: project.state(run) == "CRASHED", f"{how}: crashed")


def measure(
    project: Project, times: int, seed: int, rows: list[list[Any]], kept: Path | None
) -> None:
    """Kill so often and compare after each; rows and their file get what was seen."""
    chance = random.Random(f"{seed} {len(rows)}")  # another call's kills are others
    project.renew()
    complete(project)  # everything is loaded
    project.renew()
    undisturbed, span_s = complete(project)
    killed: list[UUID] = []
    while len(killed) < times:
        kind = KINDS[len(rows) % len(KINDS)]
        stage = chance.choice(STAGES) if len(rows) // len(KINDS) % 2 == 0 else None
        project.renew()
        longest_s = IN_STAGE_S if stage else 0.95 * span_s
        found = kill(project, kind, stage, chance.uniform(0, longest_s))
        if found is None:
            continue
        run, at_work, free_s = found
        killed.append(run)
        left, took_s = complete(project)
        if left != undisturbed:
            other = [name for name in undisturbed if left.get(name) != undisturbed[name]]
            raise RuntimeError(f"after {kind} was killed: {other}")
        if kind != KINDS[2]:
            await_crashed(project, run, kind)
        rows.append([kind, at_work, free_s, took_s, span_s])
        if kept:
            kept.write_text(json.dumps(rows))
        print(f"{len(killed)}: {kind}, {at_work}; free after {free_s:.1f} s", flush=True)
    for run in killed:
        await_crashed(project, run, "by the automation")


def record(rows: list[list[Any]]) -> None:
    """Write the section of docs/results/kills.md."""
    at = Counter(at_work for _, at_work, *_ in rows)
    spans, whole = ([row[column] for row in rows] for column in (3, 4))
    told = ", ".join(f"{count} in `{name}`" for name, count in at.most_common())
    told = told.replace("in `between stages`", "between stages")
    body = (
        f"{len(rows)} kills at drawn moments of the deployment's run on the whole server stack "
        f"(Postgres, S3 store, MLflow and Prefect with logins): {told}. After each of them no "
        "process was left and the workspace was free; the next run completed and left what an "
        "undisturbed one leaves: files of data, models and reports byte by byte, the hashes of "
        "`dvc.lock`, one version with the same aliases, no open run in MLflow. Prefect shows all "
        f"{len(rows)} killed runs as crashed. Medians: an undisturbed run takes "
        f"{statistics.median(whole):.0f} s, one after a kill {statistics.median(spans):.0f}.\n\n"
    )
    header = ["killed", "times", "until the workspace was free: median", "longest"]
    lines = []
    for kind in KINDS:
        free = [seconds for each, _, seconds, *_ in rows if each == kind]
        if free:
            middle = f"{statistics.median(free):.1f} s"
            lines.append([kind, str(len(free)), middle, f"{max(free):.1f} s"])
    write_section(ROOT / "docs" / "results" / "kills.md", "", "a worker's flow on the server stack",
                  body + table(header, lines))  # fmt: skip


def automation() -> dict[str, Any]:
    """The documented one, with a shorter time."""
    found: dict[str, Any] = _YAML.load(ROOT / "docs/dead_run_automation.yaml")
    found["trigger"]["within"] = DEAD_AFTER_S
    return found


def main() -> None:
    """Start the stack, measure, end it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=Path, help="kills of earlier calls, which are counted too")
    asked = parser.parse_args()
    kept: Path | None = asked.rows
    rows = json.loads(kept.read_text()) if kept and kept.is_file() else []
    with tempfile.TemporaryDirectory(prefix="nadir-kills-") as folder:
        project = Project(Path(folder))
        try:
            project.stack.start()
            with project.client(), get_client(sync_client=True) as client:
                client.request("POST", "/automations/", json=automation()).raise_for_status()
                measure(project, asked.times, asked.seed, rows, kept)
        except BaseException:
            sys.stderr.write(project.stack.log.read_text(errors="replace")[-8000:])
            raise
        finally:
            project.stack.remove()
    record(rows)


if __name__ == "__main__":
    main()
