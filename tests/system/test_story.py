"""A model's story in embedded mode: SQLite and files, the pages of `nadir servers` and a worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, temporary_settings
from tests.support.embedded import Embedded
from tests.support.prefect_database import prefect_database
from tests.support.story import with_story
from tests.support.told_story import Story

__all__ = ["prefect_database"]
pytestmark = pytest.mark.story


@pytest.fixture(scope="module")
def stack(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[Embedded]:
    """The servers and a worker, for a project with a schedule of one minute; the current folder."""
    root = tmp_path_factory.mktemp("story") / "project"
    made = Embedded(with_story(root, pytestconfig.rootpath / "params.yaml"))
    with pytest.MonkeyPatch.context() as patch, made.running():
        patch.chdir(root)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        url = made.login["PREFECT_API_URL"]
        patch.setenv("PREFECT_API_URL", url)
        with temporary_settings({PREFECT_API_URL: url}):
            yield made
            # While its server is there; else later tests of this process send their events to it.
            EventsWorker.drain_all(timeout=60, at_exit=False)


class TestStory(Story):
    """No server of MLflow takes part."""
