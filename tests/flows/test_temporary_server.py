"""Prefect's temporary server: reached whatever the environment says, or one error at once."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.mini.project import REPOSITORY, MiniProject
from tests.support.mlflow_server import free_port

from nadir.ground.errors import NadirError
from nadir.ground.loopback import ask_loopback_directly
from nadir.pipeline.processes.process import quiet_environment, withheld
from nadir.pipeline.servers import temporary_server as module
from nadir.pipeline.servers.proxies import without_unusable_proxies
from nadir.pipeline.servers.temporary_server import temporary_server

NOBODY = "127.0.0.1:9"


@pytest.fixture(autouse=True)
def _no_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*os.environ,):
        if name.lower().endswith("_proxy") or name in {"PREFECT_API_URL", "PREFECT_HOME"}:
            monkeypatch.delenv(name)


def run_flow(root: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    shutil.copytree(REPOSITORY / "flows", root / "flows", dirs_exist_ok=True)
    code = (
        "import sys; sys.path.insert(0, 'flows'); import training_pipeline as t\n"
        "from nadir.ground.errors import NadirError\n"
        "try:\n    t.run_pipeline(until='ingest')\n"
        "except NadirError as error:\n    sys.exit(f'error: {error}')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=root,
        env={**quiet_environment(root), **variables},
        capture_output=True,
        text=True,
        check=False,
    )


def test_proxies_and_percent_signs_in_the_folders_name_keep_nobody_from_the_server(
    project: MiniProject, tmp_path: Path
) -> None:
    root = tmp_path / "my%20pictures%25(s)"
    shutil.move(project.root, root)
    os.chdir(root)
    done = run_flow(
        root,
        NADIR_TRACKING="none",
        http_proxy=f"http://{NOBODY}",
        HTTPS_PROXY="http://[::1",
        all_proxy=f"socks5://{NOBODY}",
        ALL_PROXY=f"socks://{NOBODY}",
        NO_PROXY="intranet.invalid",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with contextlib.closing(sqlite3.connect(root / "work/prefect/prefect.db")) as history:
        assert history.execute("select state_type from flow_run").fetchall() == [("COMPLETED",)]
        found = history.execute("select name, state_type from task_run").fetchall()
    assert found == [("ingest", "COMPLETED")], "what its threads had to tell has arrived"


def test_a_server_that_ends_is_one_error_with_its_last_lines(project: MiniProject) -> None:
    home = project.root / "work/prefect"
    home.mkdir(parents=True, exist_ok=True)
    (home / "prefect.db").write_bytes(b"no database, for what fits in here" * 100)
    with (
        pytest.raises(NadirError, match=r"temporary server ended with status \d+") as caught,
        temporary_server(project.root, say=print),
    ):
        pass
    assert "file is not a database" in caught.value.what
    assert caught.value.where == str(project.root / "work/logs/prefect.log")
    assert "PREFECT_API_URL" in caught.value.fix


@pytest.mark.parametrize("kind", ["below a file", "a file", "of the kernel"])
def test_a_home_that_cannot_be_made_is_named_before_anything_starts(
    kind: str, project: MiniProject, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    homes = {"below a file": tmp_path / "file/home", "a file": tmp_path / "file"}
    home = str(homes.get(kind, "/proc/nadir"))
    monkeypatch.setenv("PREFECT_HOME", home)
    with (
        pytest.raises(NadirError, match="Prefect's folder cannot be written") as caught,
        temporary_server(project.root, say=print),
    ):
        pass
    assert caught.value.where == home
    assert "PREFECT_HOME" in caught.value.fix


def test_a_work_folder_that_cannot_be_made_is_one_error(project: MiniProject) -> None:
    shutil.rmtree(project.root / "work")
    (project.root / "work").touch()
    with pytest.raises(NadirError, match="the folder cannot be made"):
        quiet_environment(project.root)


def test_a_port_that_somebody_takes_first_is_left_for_another(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TELL_AFTER_S", 0.0)
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as taken:
        free = free_port()
        ports = iter([taken.getsockname()[1], free])
        monkeypatch.setattr(module, "_free_port", lambda: next(ports))
        with temporary_server(project.root, say=said.append) as url:
            assert url == f"http://127.0.0.1:{free}/api"
            with urllib.request.urlopen(f"{url}/health") as answer:
                assert answer.status == 200
    assert "waiting for Prefect's temporary server" in said[0]
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/health")


def test_a_proxy_of_another_kind_is_told_where_it_may_be_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("all_proxy", f"socks4://{NOBODY}")
    with (
        pytest.raises(NadirError, match="cannot use this proxy") as caught,
        without_unusable_proxies("https://prefect.invalid/api"),
    ):
        pass
    assert caught.value.where == "all_proxy"


def test_stages_keep_the_proxy_that_prefects_client_does_without(
    project: MiniProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", f"socks4://{NOBODY}")
    monkeypatch.setenv("https_proxy", f"http://{NOBODY}")
    with without_unusable_proxies(None):
        assert "ALL_PROXY" not in os.environ
        assert os.environ["https_proxy"] == f"http://{NOBODY}"
        assert quiet_environment(project.root)["ALL_PROXY"] == f"socks4://{NOBODY}"
    assert os.environ["ALL_PROXY"] == f"socks4://{NOBODY}"
    assert not withheld


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {}),
        ({"NO_PROXY": "a.b"}, {"NO_PROXY": "a.b"}),
        (
            {"http_proxy": "http://p:1"},
            {"no_proxy": "127.0.0.1,localhost,::1", "NO_PROXY": "127.0.0.1,localhost,::1"},
        ),
        (
            {"ALL_PROXY": "socks5://p:1", "NO_PROXY": "a.b, localhost"},
            {"no_proxy": "a.b,localhost,127.0.0.1,::1", "NO_PROXY": "a.b,localhost,127.0.0.1,::1"},
        ),
        (
            {"https_proxy": "http://p:1", "no_proxy": "x", "NO_PROXY": "*"},
            {"no_proxy": "x,127.0.0.1,localhost,::1", "NO_PROXY": "*"},
        ),
    ],
)
def test_loopback_joins_what_needs_no_proxy_and_nothing_leaves(
    before: dict[str, str], after: dict[str, str]
) -> None:
    environment = dict(before)
    ask_loopback_directly(environment)
    assert {k: v for k, v in environment.items() if k.lower() == "no_proxy"} == after
