"""What becomes of the stack's processes when it is told to stop, or when its starter is killed."""

from __future__ import annotations

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


def require_gone(started: list[psutil.Process]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while any(process.is_running() and process.status() != "zombie" for process in started):
        assert time.monotonic() < deadline, started
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_nothing_of_it_stays_whatever_ends_it(stack: RunningStack, number: int) -> None:
    """Databases and store are those of the last start."""
    stack.start("postgres", "s3-buckets")
    assert stack.rows("prefect", "select extname from pg_extension where extname = 'pg_trgm'")
    started = processes(stack)
    assert {"postgres", "weed"} <= {process.name() for process in started}
    status = stack.stop(number)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    require_gone(started)


def test_the_end_of_one_server_ends_all_and_is_named(stack: RunningStack) -> None:
    stack.start("postgres", "s3-buckets")
    started = processes(stack)
    next(process for process in started if process.name() == "weed").kill()
    assert stack.process is not None
    assert stack.process.wait(PATIENCE_S) == 1
    require_gone(started)
    told = stack.log.read_text(errors="replace")
    assert "service s3: the service ended by itself with status" in told
    assert "Traceback" not in told


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
