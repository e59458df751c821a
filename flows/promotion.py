"""Promotion as a Prefect flow: the challenger becomes the champion, or the last one returns.

prefect deployment run promotion/promote --param go_back=true
"""

from __future__ import annotations

import os

from nadir.ground.errors import NadirError
from nadir.ground.secrets import mask_logs
from nadir.ground.workspace import project_root
from nadir.pipeline.promotion import promote, rollback
from nadir.pipeline.servers.temporary_server import prefect_environment
from nadir.tracking.registry.promotion import Promotion  # noqa: TC001 - Prefect reads annotations

# Before Prefect is imported, which reads its settings and announces itself while it loads.
os.environ.update(prefect_environment())

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.runtime import flow_run

mask_logs()


@flow(name="promotion", persist_result=False)
def promotion(
    version: int | None = None, *, go_back: bool = False, force_reason: str | None = None
) -> int:
    """Move the aliases of the registered model.

    Args:
        version: The version to promote; None is the challenger.
        go_back: Bring the previous champion back instead.
        force_reason: Promote whatever was judged, and why; it stays on the version.

    Returns:
        The version that is live now.
    """
    if go_back and version is not None:
        raise NadirError(
            "a version and a rollback exclude each other", fix="give one of the two parameters"
        )
    done: Promotion = move_aliases(version, go_back=go_back, force_reason=force_reason)
    before = f", before it version {done.previous}" if done.previous else ""
    text = f"{done.name}: champion is version {done.champion}{before}"
    get_run_logger().info("%s", text)
    create_markdown_artifact(text, key="promotion")
    return done.champion


@task(name="aliases", cache_policy=NO_CACHE, persist_result=False)
def move_aliases(version: int | None, *, go_back: bool, force_reason: str | None) -> Promotion:
    """The one step that changes the registry; repeating a promotion changes nothing."""
    root, flow_run_id = project_root(), str(flow_run.id or "")
    if go_back:
        return rollback(root, flow_run_id=flow_run_id)
    return promote(root, version=version, force_reason=force_reason, flow_run_id=flow_run_id)
