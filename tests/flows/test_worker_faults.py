"""A worker's runs cancelled, its flow killed, the worker stopped and killed: each in turn."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import psutil
import pytest
from bench.results import ROOT, table, write_section
from prefect.client.orchestration import get_client
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.states import Cancelling
from tests.support.prefect_servers import Servers

from nadir.pipeline.processes.running import is_held

PAGE = ROOT / "docs" / "results" / "kills.md"
NEWEST = "select state_type, id from flow_run where start_time is not null order by created desc"
UNTIL = {"until": "base_model"}
ENDS = dict.fromkeys(("cancelled by the command line", "cancelled by the API"), "CANCELLED")
ENDS["flow killed"] = "CRASHED"
FAULTS = (
    "cancelled by the command line",
    "cancelled by the API",
    "flow killed",
    "worker stopped",
    "worker and flow killed",
)


def is_gone(servers: Servers) -> bool:
    """Whether the stage's process has ended, and with it all that waited for it."""
    assert servers.worker is not None
    for process in psutil.process_iter(["cmdline"]):
        if "waits.py" in (process.info["cmdline"] or []):
            with contextlib.suppress(psutil.Error):
                if process.cwd() == str(servers.root):
                    return False
    return True


def flow_processes(servers: Servers) -> list[psutil.Process]:
    assert servers.worker is not None
    return psutil.Process(servers.worker.pid).children(recursive=False)


def begin(servers: Servers) -> None:
    with temporary_settings({PREFECT_API_URL: servers.url}):
        run_deployment("training-pipeline/nightly", parameters=UNTIL, timeout=0)


def apply(fault: str, servers: Servers, run_id: str) -> None:
    assert servers.worker is not None
    if fault == "cancelled by the command line":
        servers.prefect("flow-run", "cancel", run_id)
    elif fault == "cancelled by the API":
        here = temporary_settings({PREFECT_API_URL: servers.url})
        with here, get_client(sync_client=True) as client:
            client.set_flow_run_state(run_id, Cancelling())
    flows = flow_processes(servers)
    if fault.startswith("worker"):
        os.kill(servers.worker.pid, signal.SIGTERM if "stopped" in fault else signal.SIGKILL)
    if fault.endswith("flow killed"):
        for flow in flows:
            flow.kill()


@pytest.mark.evidence
@pytest.mark.timeout(7200)
def test_whatever_befalls_a_worker_its_stage_is_stopped_and_the_workspace_free(
    waiting_servers: Servers,
) -> None:
    servers = waiting_servers
    root = servers.root
    servers.start()
    servers.prefect("work-pool", "create", "nadir", "--type", "process")
    servers.prefect("deploy", "--all")
    rows = []
    for fault in (*FAULTS, "worker killed"):
        if servers.worker is None or servers.worker.poll() is not None:
            servers.start_worker()
        (root / "started").unlink(missing_ok=True)
        begin(servers)
        servers.until((root / "started").exists, "the stage starts")
        begun = time.monotonic()
        apply(fault, servers, servers.rows(NEWEST)[0][1])
        if fault == "worker killed":  # its flow goes on
            (root / "go").touch()
            servers.until(lambda: servers.rows(NEWEST)[0][0] == "COMPLETED", "the flow ends")
        servers.until(lambda: is_gone(servers), f"{fault}: the stage ends")
        servers.until(lambda: not is_held(root), f"{fault}: the workspace is free")
        took_s = time.monotonic() - begun
        if fault in ENDS:
            servers.until(lambda: servers.rows(NEWEST)[0][0] == ENDS[fault], fault)  # noqa: B023
        elif servers.worker is not None:
            servers.worker.wait(timeout=120)
        rows.append([fault, servers.rows(NEWEST)[0][0], f"{took_s:.0f} s"])
        (root.parent / "rows").write_text(repr(rows))
    body = (
        "Once each, of a run of the deployment `nightly` on a process pool whose stage waits. "
        "After each no process of the stage was left and the workspace was free, and the next run "
        "began. A worker that is killed leaves its flow, which went on and completed.\n\n"
    )
    head = ["fault", "state of the run then", "until the workspace was free"]
    write_section(PAGE, "", "a worker's runs", body + table(head, rows), command="make evidence")
