"""What all tests share."""

from __future__ import annotations

import gc
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from tests.support.durations import Durations, Recorder

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]

# Tests that two modules share fail as tests do, with both sides of what is not equal.
pytest.register_assert_rewrite("tests.support.told_story")

# Before any library is imported: nothing reports anywhere, and torch leaves a core to the others.
os.environ.update(
    DO_NOT_TRACK="true",
    PREFECT_SERVER_ANALYTICS_ENABLED="false",
    MLFLOW_DISABLE_TELEMETRY="true",
    # Else each MLflow server starts eight processes more, for its GenAI pages: 30 CPU seconds.
    MLFLOW_SERVER_ENABLE_JOB_EXECUTION="false",
    DVC_NO_ANALYTICS="1",
    HF_HUB_OFFLINE="1",
    GX_ANALYTICS_ENABLED="false",
)
# What modules make while they load is no garbage: see `pytest_collection_finish`.
gc.disable()
# Compiled files are kept for the next process, of which the tests start hundreds.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# Workers side by side share the cores; several threads each would only wait for one another.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


# A busy machine is no fault of the code; and a change is judged by the same examples as the one
# before it. New ones are drawn by `make fuzz`.
settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("drawn", deadline=None, print_blob=True)
settings.load_profile("same")

S3_SECRET = "wJalrXUtnFEMI-not-to-be-seen"


@pytest.fixture(autouse=True)
def _environment_stays() -> Iterator[None]:
    """What flows and libraries set as they are loaded stays in its test.

    One that Prefect's settings had leaked to started on another database than its own.
    """
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"})


@pytest.fixture
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture
def params_text() -> str:
    """The default params.yaml."""
    return (ROOT / "params.yaml").read_text(encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run measure its tests."""
    parser.addoption(
        "--record-durations", action="store_true", help="write what tests take to durations.json"
    )


def pytest_configure(config: pytest.Config) -> None:
    """Measure if asked to."""
    if config.option.record_durations:
        config.pluginmanager.register(Recorder())


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what runs when asked for alone; mark what is slow, long files first."""
    for name in ("evidence", "servers"):
        if name not in str(config.option.markexpr):
            left = [item for item in items if item.get_closest_marker(name)]
            if left:
                config.hook.pytest_deselected(items=left)
                items[:] = [item for item in items if item not in left]
    Durations().arrange(items)


def pytest_collection_finish() -> None:
    """Look for garbage from now on, among what tests make alone.

    All that is loaded by now is a million objects, and each whole look at them took a second.
    """
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Address of an S3 server on loopback."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A client; the environment names the server and the credentials."""
    import boto3

    from nadir.data.sources.stores.s3_client import s3_client

    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", S3_SECRET)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3_client.cache_clear()
    yield boto3.client("s3")
    s3_client.cache_clear()


@pytest.fixture
def bucket(s3: Any) -> str:
    """An empty bucket."""
    name = f"images-{uuid.uuid4().hex[:12]}"
    s3.create_bucket(Bucket=name)
    return name
