"""The whole server stack, started once for the stories that these tests tell it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from tests.support.mlflow_server import Door
from tests.support.stack import RunningStack
from tests.support.story import with_story


@pytest.fixture(scope="session")
def door() -> Iterator[Door]:
    """What stands between MLflow and the S3 store."""
    made = Door()
    yield made
    made.shut()


@pytest.fixture(scope="session")
def stack(
    door: Door, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[RunningStack]:
    """All of it, for a project with a schedule of one minute; the current folder."""
    root = tmp_path_factory.mktemp("story") / "project"
    made = RunningStack(with_story(root, pytestconfig.rootpath / "params.yaml"))
    try:
        door.lead_to(made.ports["s3"])
        compose = root / "docker-compose.yml"
        text, before = compose.read_text(), "MLFLOW_S3_ENDPOINT_URL: http://s3:8333"
        assert before in text
        compose.write_text(text.replace(before, f"MLFLOW_S3_ENDPOINT_URL: {door.uri}"))
        made.start()
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            for name, value in made.login.items():
                patch.setenv(name, value)
            url, login = made.login["PREFECT_API_URL"], made.login["PREFECT_API_AUTH_STRING"]
            with temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: login}):
                yield made
    finally:
        made.remove()
