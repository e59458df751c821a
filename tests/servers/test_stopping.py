"""What becomes of the stack's processes when it is told to stop, or when its starter is killed."""

from __future__ import annotations

import contextlib
import signal
import time
from pathlib import Path

import psutil
import pytest
from tests.mini.project import make_project
from tests.support.stack import PATIENCE_S, RunningStack

pytestmark = [pytest.mark.servers, pytest.mark.story]


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory):
    made = RunningStack(make_project(tmp_path_factory.mktemp("stopping") / "project"))
    yield made
    made.remove()


def processes(stack: RunningStack) -> list[psutil.Process]:
    assert stack.process is not None
    return psutil.Process(stack.process.pid).children(recursive=True)


def by_name(found: list[psutil.Process]) -> dict[str, psutil.Process]:
    """Without what has ended just now, as the server's end of a connection does."""
    names: dict[str, psutil.Process] = {}
    for process in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            names[process.name()] = process
    return names


def is_alive(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != "zombie"
    return False


def require_gone(started: list[psutil.Process]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(is_alive(process) for process in started):
        assert time.monotonic() < deadline, started
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_of_it_stays_whatever_ends_it(stack: RunningStack, number: int) -> None:
    """Databases and store are those of the last start."""
    stack.start("postgres", "s3-buckets")
    assert stack.rows("prefect", "select extname from pg_extension where extname = 'pg_trgm'")
    started = processes(stack)
    assert {"postgres", "weed"} <= set(by_name(started))
    status = stack.stop(number)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    require_gone(started)


def test_a_server_that_ends_by_itself_is_named_and_started_again(stack: RunningStack) -> None:
    stack.start("postgres", "s3-buckets")
    before = by_name(processes(stack))
    with stack.away("s3"):
        assert stack.members("postgres"), "the others stay"
    assert set(by_name(processes(stack))) == set(before)
    assert not before["weed"].is_running()
    (told, *_) = [line for line in stack.said if line.startswith("s3 ended by itself with status ")]
    assert "is started again; its last lines:" in told
    started = processes(stack)
    assert stack.stop() == 0
    require_gone(started)


def test_a_password_that_the_databases_were_not_made_with_is_one_clear_error(
    stack: RunningStack,
) -> None:
    path = Path(stack.project.root / ".env")
    text = path.read_text()
    path.write_text(text.replace("POSTGRES_PASSWORD=", "POSTGRES_PASSWORD=x"))
    with pytest.raises(AssertionError) as found:
        stack.start("postgres")
    path.write_text(text)
    assert "Postgres refuses: " in str(found.value)
    assert "password authentication failed" in str(found.value)
